"""What a mount has to say of itself and of its pending changes: `status`, `flush`, `retry`."""

from __future__ import annotations

import msgspec

from remotefs.control.messages.base import Count, DrainResult, Endpoint, Leftover, Message, Nothing


class PendingKind(Message, frozen=True):
    """The pending intents of one kind (upload, delete, reupload), and why the oldest of them waits."""

    kind: str
    count: int
    oldest_reason: str | None = None
    oldest_age_s: float | None = None


class Uploading(Message, frozen=True, kw_only=True):
    """An upload under way: of `size` bytes `sent` went out."""

    path: str
    size: int
    sent: int


class FailedRequest(Message, frozen=True, kw_only=True):
    """A request that failed; `request_id` where the service answered."""

    at: float
    message: str
    request_id: str | None = None


class TaskFailed(Message, frozen=True, kw_only=True):
    """A task of the mount that failed and was begun again: how often, when last, and why."""

    task: str
    count: int
    at: float
    reason: str


class ExpiringFiles(Message, frozen=True, kw_only=True):
    """The files that expire within a day: how many (10,000: or more), the path of the first, and when it expires."""

    count: int = 0
    first: str | None = None
    first_at: float | None = None


class ContentUse(Message, frozen=True):
    """Bytes on this disk. Pinned bytes exist nowhere else that can be read; evictable ones can be fetched again."""

    pinned_bytes: int = 0
    evictable_bytes: int = 0
    staging_bytes: int = 0
    pinned_files: int = 0


class SharedUse(Message, frozen=True, kw_only=True):
    """The shared store: its address, why it is out of reach if it is, and the uploads that it has and waits for."""

    store: str
    trouble: str | None = None
    stored_files: int = 0
    waiting_files: int = 0
    # The first of those that cannot be put there, and why.
    failed: tuple[Leftover, ...] = ()
    # The objects whose files are gone, and their bytes.
    orphans: int = 0
    orphan_bytes: int = 0
    # Of these so many would go at once, and wait for `remotefs accept-removals` (X6).
    orphans_held: int = 0
    # Why this machine cannot delete them; another may.
    orphans_trouble: str | None = None


class Requests(Message, frozen=True):
    """Requests sent since the mount began; `limit_per_minute` is None where there is no limit.

    `waiting` for their turn, `rate_limited` of those sent; the service asked for a pause of `paused_s` more.
    """

    used: int = 0
    limit_per_minute: int | None = None
    waiting: int = 0
    rate_limited: int = 0
    paused_s: float = 0.0


class InMemory(Message, frozen=True, kw_only=True):
    """Counts of the things that the process holds; they stay level in a long life of even work.

    `kernel_inodes` are those that the kernel may still name in a request, whether they have a name or not.
    """

    kernel_inodes: int = 0
    open_files: int = 0
    open_directories: int = 0
    tasks: int = 0


class RequestCount(Message, frozen=True, kw_only=True):
    """The requests of one kind (list, metadata, delete, upload, download) with one status; 0: no reply came."""

    kind: str
    status: int
    count: int


class Timing(Message, frozen=True, kw_only=True):
    """Calls of one name: how many, how many of them failed, the seconds of all, how many took at most each bucket."""

    name: str
    count: int
    errors: int
    seconds: float
    within: tuple[int, ...]


class Counters(Message, frozen=True, kw_only=True):
    """What rose since the mount began, at `since` (seconds since the epoch), `uptime_s` ago by a clock nobody sets."""

    since: float = 0.0
    uptime_s: float = 0.0
    requests: tuple[RequestCount, ...] = ()
    # The upper ends of the buckets of the timings, in seconds.
    buckets_s: tuple[float, ...] = ()
    # By kind of request: up to the head of the reply.
    request_times: tuple[Timing, ...] = ()
    # By operation of the kernel.
    operations: tuple[Timing, ...] = ()
    # Attempts at a request that failed, by the class of their error.
    errors: dict[str, int] = msgspec.field(default_factory=dict)
    # The bytes of files, to and from the service.
    uploaded_bytes: int = 0
    downloaded_bytes: int = 0
    # The bytes of objects of the shared store.
    store_sent_bytes: int = 0
    store_received_bytes: int = 0
    # Reads that this machine answered, and those that needed the service.
    cache_hits: int = 0
    cache_misses: int = 0
    cache_hit_bytes: int = 0
    cache_missed_bytes: int = 0
    # Requests that got no line in the access log.
    unlogged: int = 0


class Status(Message, frozen=True, kw_only=True):
    """What a running mount says of itself."""

    mountpoint: str
    state_dir: str
    base_url: str
    pid: int
    # Of remotefs, when the mount was started.
    version: str = ""
    organization: str | None = None
    workspace: str | None = None
    read_only: bool = False
    # The path in the tree of the folder that is the mount's root.
    subdir: str = ""
    online: bool
    # Why it is offline, or why all intents stand still.
    trouble: str | None = None
    draining: bool = False
    files: int = 0
    pending: tuple[PendingKind, ...] = ()
    # The bytes of the files that are to be uploaded; of more than 10,000 files, about.
    pending_bytes: int = 0
    uploading: tuple[Uploading, ...] = ()
    failed: tuple[Leftover, ...] = ()
    # Renamed folders whose files are still followed.
    renamed: tuple[str, ...] = ()
    # The newest first.
    errors: tuple[FailedRequest, ...] = ()
    damaged: tuple[str, ...] = ()
    # Tasks that failed and go on, the last first.
    failures: tuple[TaskFailed, ...] = ()
    # Why changes cannot be written down now; reading goes on.
    unwritable: str | None = None
    # Files that the last listing lacked, or that expired unforeseen; they wait for `remotefs accept-removals` (S1).
    removals_held: int = 0
    expiring: ExpiringFiles = ExpiringFiles()
    trashed: int = 0
    trashed_bytes: int = 0
    content: ContentUse = ContentUse()
    # None: there is no shared store.
    shared: SharedUse | None = None
    requests: Requests = Requests()
    in_memory: InMemory = InMemory()
    counters: Counters = Counters()
    last_poll_at: float | None = None
    last_walk_at: float | None = None


class FlushParams(Message, frozen=True, kw_only=True):
    """Wait until the service has what lies at or below `path`."""

    path: str = ""
    timeout_s: float


class PathParams(Message, frozen=True):
    """What lies at or below `path`."""

    path: str = ""


STATUS = Endpoint("status", Nothing, Status)
FLUSH = Endpoint("flush", FlushParams, DrainResult)
RETRY = Endpoint("retry", PathParams, Count)
