"""The records that cross the control socket, and the commands that carry them.

Progress is what happens on the way, reports and results are what a command ends with. Paths are strings relative to
the mount's root, `""` being the root itself; times are seconds since the epoch; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the protocol. Unknown fields are ignored: a newer mount may answer an older command line."""


# --- progress ---------------------------------------------------------------------------------------------------------


class Ready(Message, frozen=True, tag="ready"):
    """The mount answers: the first `stat` of its root came back."""


class Listing(Message, frozen=True, tag="listing"):
    """The first listing goes on."""

    files: int


class Draining(Message, frozen=True, tag="draining"):
    """Changes are being carried out; `left` are not yet, `path` is one of them. `eta_s` as fast as so far."""

    left: int
    path: str | None = None
    eta_s: float | None = None


class Warming(Message, frozen=True, kw_only=True, tag="warming"):
    """Files are being fetched: of so many, of so many bytes in all."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int


class Notice(Message, frozen=True, tag="notice"):
    """One sentence that the person who waits should read."""

    text: str


Progress = Ready | Listing | Draining | Warming | Notice
Report = Callable[[Progress], None]


# --- parameters and results -------------------------------------------------------------------------------------------


class Nothing(Message, frozen=True):
    """No parameters."""


class PendingKind(Message, frozen=True):
    """The pending intents of one kind (upload, delete, relabel), and why the oldest of them waits."""

    kind: str
    count: int
    oldest_reason: str | None = None
    oldest_age_s: float | None = None


class Leftover(Message, frozen=True):
    """A path with something that the service does not have yet, and why."""

    path: str
    reason: str


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


class ContentUse(Message, frozen=True):
    """Bytes on this disk. Pinned bytes exist nowhere else that can be read; evictable ones can be fetched again."""

    pinned_bytes: int = 0
    evictable_bytes: int = 0
    staging_bytes: int = 0
    pinned_files: int = 0


class Requests(Message, frozen=True):
    """Requests sent since the mount began; `limit_per_minute` is None where there is no limit.

    `waiting` for their turn, `rate_limited` of those sent; the service asked for a pause of `paused_s` more.
    """

    used: int = 0
    limit_per_minute: int | None = None
    waiting: int = 0
    rate_limited: int = 0
    paused_s: float = 0.0


class Status(Message, frozen=True, kw_only=True):
    """What a running mount says of itself."""

    mountpoint: str
    state_dir: str
    base_url: str
    pid: int
    organization: str | None = None
    workspace: str | None = None
    read_only: bool = False
    online: bool
    # Why it is offline, or why all intents stand still.
    trouble: str | None = None
    draining: bool = False
    files: int = 0
    pending: tuple[PendingKind, ...] = ()
    uploading: tuple[Uploading, ...] = ()
    failed: tuple[Leftover, ...] = ()
    # The newest first.
    errors: tuple[FailedRequest, ...] = ()
    damaged: tuple[str, ...] = ()
    # Tasks that failed and go on, the last first.
    failures: tuple[TaskFailed, ...] = ()
    # Why changes cannot be written down now; reading goes on.
    unwritable: str | None = None
    # Files that the last listing lacked, or that expired unforeseen; they wait for `remotefs accept-removals` (S1).
    removals_held: int = 0
    trashed: int = 0
    trashed_bytes: int = 0
    content: ContentUse = ContentUse()
    requests: Requests = Requests()
    last_poll_at: float | None = None
    last_walk_at: float | None = None


class FlushParams(Message, frozen=True, kw_only=True):
    """Wait until the service has what lies at or below `path`."""

    path: str = ""
    timeout_s: float


class PathParams(Message, frozen=True):
    """What lies at or below `path`."""

    path: str = ""


class UmountParams(Message, frozen=True):
    """Drain for at most `timeout_s`, then unmount whatever is left."""

    timeout_s: float


class DrainResult(Message, frozen=True):
    """What the service did not get in time: `left` intents, the first of them by name."""

    left: int
    leftovers: tuple[Leftover, ...] = ()


class IdentifyParams(Message, frozen=True):
    """Flush `path` and say which file of the service it is."""

    path: str
    timeout_s: float


class FileIdentity(Message, frozen=True):
    """A file of the service as its own reply described it."""

    file_id: str
    filename: str
    mime_type: str


class TakeoverResult(Message, frozen=True):
    """`yielding` is true when the mount was draining and now stops; a mount in use goes on and says false."""

    yielding: bool


class Count(Message, frozen=True):
    """How many."""

    count: int


class TrashEntry(Message, frozen=True):
    """A file in the local trash."""

    number: int
    path: str
    file_id: str
    size: int
    removed_at: float
    reason: str


class TrashListing(Message, frozen=True):
    """The local trash, the oldest first."""

    entries: tuple[TrashEntry, ...] = ()


class RestoreParams(Message, frozen=True):
    """Put number `number` of the trash back, at its old path or at `path`."""

    number: int
    path: str | None = None


class PathResult(Message, frozen=True):
    """A path in the mount."""

    path: str


class EmptyParams(Message, frozen=True):
    """Remove for good what has been in the trash for longer."""

    older_than_days: float = 0.0


class PathsParams(Message, frozen=True):
    """Where these files of the service are in the tree."""

    file_ids: tuple[str, ...]


class PathsResult(Message, frozen=True):
    """A path for each id asked for, None where the tree has no such file."""

    paths: tuple[str | None, ...]


class SyncParams(Message, frozen=True):
    """Give the files at or below `path` the remote names that their paths say; `dry_run` only tells the cost."""

    path: str
    dry_run: bool


class SyncResult(Message, frozen=True):
    """What `sync` costs: `files` uploads of `bytes` in all and their deletes; `unreadable` paths cannot follow."""

    files: int
    bytes: int
    requests: int
    unreadable: tuple[str, ...] = ()


class DedupeParams(Message, frozen=True):
    """Remove copies below `path`: those equal to the one that is kept, or those of `file_ids` whatever they hold."""

    path: str = ""
    keep_oldest: bool = False
    dry_run: bool = False
    file_ids: tuple[str, ...] = ()


class CopyFound(Message, frozen=True):
    """One of several remote files of one name. `verdict`: kept, equal (removed unless dry run), differs, unknown."""

    path: str
    file_id: str
    size: int
    verdict: str


class DedupeResult(Message, frozen=True):
    """All copies, group by group; `removed` of them are gone."""

    copies: tuple[CopyFound, ...]
    removed: int


# --- commands ---------------------------------------------------------------------------------------------------------

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True)
class Command:
    """A command with the code that carries it out; made by `Endpoint.bind`."""

    name: str
    params: type[msgspec.Struct]
    run: Callable[[Any, Report], Awaitable[msgspec.Struct]]


@dataclass(frozen=True)
class Endpoint(Generic[P, R]):
    """A command's name with the types of its parameters and of its result."""

    name: str
    params: type[P]
    result: type[R]

    def bind(self, run: Callable[[P, Report], Awaitable[R]]) -> Command:
        """The command carried out by `run(params, report)`, whose RemotefsErrors go to the caller.

        `run` is cancelled when the caller hangs up: what has to go on without it is started elsewhere.
        """
        return Command(self.name, self.params, run)


STATUS = Endpoint("status", Nothing, Status)
FLUSH = Endpoint("flush", FlushParams, DrainResult)
UMOUNT = Endpoint("umount", UmountParams, DrainResult)
IDENTIFY = Endpoint("id", IdentifyParams, FileIdentity)
TAKEOVER = Endpoint("takeover", Nothing, TakeoverResult)
ACCEPT_REMOVALS = Endpoint("accept-removals", Nothing, Count)
TRASH_LIST = Endpoint("trash-list", Nothing, TrashListing)
TRASH_RESTORE = Endpoint("trash-restore", RestoreParams, PathResult)
TRASH_EMPTY = Endpoint("trash-empty", EmptyParams, Count)
PATHS = Endpoint("paths", PathsParams, PathsResult)
SYNC = Endpoint("sync", SyncParams, SyncResult)
DEDUPE = Endpoint("dedupe", DedupeParams, DedupeResult)
RETRY = Endpoint("retry", PathParams, Count)
