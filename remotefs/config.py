"""The settings: frozen sections; each field has its unit in its name, its kind, and its reason beside it.

A value comes from the first of: a flag, the environment (`REMOTEFS_<SECTION>_<FIELD>`; the service's own names are
`ANTHROPIC_*`), the file (`remotefs/config.toml` in the user's configuration folder), the default here.
`setting_sources` reads them; `setting_kinds` says what each kind may be.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec

from remotefs.place_kinds import Address, CommandLine, CredentialName, FilePath, ListenAddress, StoreAddress
from remotefs.setting_kinds import (
    Flag,
    Id,
    Kind,
    Number,
    Part,
    Patterns,
    Rate,
    Size,
    Time,
    Times,
    TimesByPattern,
    Word,
)

Shape = Literal["auto", "ga", "beta"]
Durability = Literal["remote", "local", "strict"]
TextType = Literal["plain", "exact"]
UnreadableMode = Literal["stored", "no-read"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["plain", "json", "journald"]

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40
EIB = 1 << 60
MINUTE_S = 60.0
HOUR_S = 3600.0
DAY_S = 86_400.0
# The range of `expires_in_seconds` that the service takes.
EXPIRY = Time(HOUR_S, 90 * DAY_S)
DEFAULT_BASE_URL = "https://api.anthropic.com"


class Secret:
    """A string that no repr, log or traceback shows; `reveal()` returns it.

    `origin` is the place that it comes from, for a message: a variable, a file with its line, a command.
    """

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str | None = None) -> None:
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        """Return the secret itself, for the header that carries it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class SecretText(Kind):
    """A key or a token."""

    is_secret = True

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "a text that is not empty"

    def read(self, value: object) -> Secret:
        """Return the secret."""
        if not isinstance(value, str) or not value:
            raise ValueError("no text")
        return Secret(value)


class Headers(Kind):
    """Pairs of a name and a secret value."""

    is_secret = True

    @property
    def allowed(self) -> str:
        """Return their shape, in the environment and in a file."""
        return 'lines of `Name: value`, in a file [["Name", "value"]]'

    def read(self, value: object) -> tuple[tuple[str, Secret], ...]:
        """Return the pairs."""
        pairs = list(value) if isinstance(value, list | tuple) else [None]
        return tuple(map(self._pair, pairs))

    def split(self, text: str) -> object:
        """Return the pairs of the lines of a text."""
        return [[part.strip() for part in line.split(":", 1)] for line in text.splitlines() if line.strip()]

    def _pair(self, pair: object) -> tuple[str, Secret]:
        match pair:
            case [str(name), str(value)] if name:
                return name, Secret(value)
        raise ValueError("not a pair")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A group of settings."""


class ServiceConfig(Section, frozen=True, kw_only=True):
    """How to reach the service, and as whom."""

    base_url: Annotated[str, Address()] = DEFAULT_BASE_URL
    # `x-api-key`; wins over auth_token, as in the vendor's SDKs.
    api_key: Annotated[Secret | None, SecretText()] = None
    # `Authorization: Bearer`.
    auth_token: Annotated[Secret | None, SecretText()] = None
    # Other sources of the key, read at the start and after a 401; `remotefs/keys.py`.
    key_file: Annotated[str | None, FilePath()] = None
    # Its first line of output is the key. A list, because no shell takes part.
    key_command: Annotated[tuple[str, ...] | None, CommandLine()] = None
    # A credential that systemd hands to the process (LoadCredential=); `setting_sources` makes a path of it.
    key_credential: Annotated[str | None, CredentialName()] = None
    workspace_id: Annotated[str | None, Id()] = None
    # Extra request headers, from ANTHROPIC_CUSTOM_HEADERS; a Secret each, for people put tokens there.
    custom_headers: Annotated[tuple[tuple[str, Secret], ...], Headers()] = ()
    # `auto`: GA, falling back to the beta shape where a server needs it.
    shape: Annotated[Shape, Word(get_args(Shape))] = "auto"
    connect_timeout_s: Annotated[float, Time(0.1, HOUR_S)] = 5.0
    # Between two pieces of a reply or of an upload, not for the whole.
    io_timeout_s: Annotated[float, Time(0.1, HOUR_S)] = 60.0
    # For a request that carries no file, retries included.
    request_deadline_s: Annotated[float, Time(0.1, HOUR_S)] = 60.0
    # How long open, read, write and truncate wait while the service sends nothing for them. Short, because programs
    # freeze meanwhile; the request goes on, and the next try finds the bytes that came (R7).
    read_wait_s: Annotated[float, Time(0.1, DAY_S)] = 10.0
    # None: the limit of the shape (500 in GA, 100 in beta); 0: no limit.
    requests_per_minute: Annotated[int | None, Number(0, 1_000_000)] = None
    # The bytes of files alone, headers and listings not counted: a file server shares its link with others.
    upload_rate: Annotated[int, Rate()] = 0
    download_rate: Annotated[int, Rate()] = 0
    # The service refuses more with 413; whether its MB are 10^6 or 2^20 is not documented.
    max_file_bytes: Annotated[int, Size(1, TIB)] = 500 * MIB
    # What an organization may store, by the vendor's guide; no reply tells. `df` shows no more free. 0: no bound.
    storage_bytes: Annotated[int, Size(MIB, EIB, or_zero="no limit")] = 10**12


class CacheConfig(Section, frozen=True, kw_only=True):
    """Content kept on this disk."""

    # Evictable bytes at most, as a part of the disk; pins have no quota but the reserve.
    evictable_fraction: Annotated[float, Part()] = 0.20
    evictable_bytes: Annotated[int | None, Size(0, EIB)] = None
    # Always left free on the disk: the larger of the two.
    reserve_bytes: Annotated[int, Size(0, EIB)] = GIB
    reserve_fraction: Annotated[float, Part(most=0.95)] = 0.05
    # Chunks kept in memory when they cannot go to the disk (A8).
    memory_bytes: Annotated[int, Size(0, 64 * GIB)] = 32 * MIB
    # One kernel READ; also the unit of checksums.
    chunk_bytes: Annotated[int, Size(4 * KIB, MIB, power_of_two=True)] = 128 * 1024
    # The readahead of a sequential reader's stream, past the bytes that the reader asked for.
    readahead_bytes: Annotated[int, Size(0, GIB)] = 8 * MIB


class WritebackConfig(Section, frozen=True, kw_only=True):
    """From a written file to the service (W2, W4, W10, N6)."""

    durability: Annotated[Durability, Word(get_args(Durability))] = "remote"
    # A process in close cannot be killed: hence the bound (W2).
    close_wait_s: Annotated[float, Time(0, DAY_S)] = 10.0
    # `durability = local`: the upload follows the last close after this.
    upload_delay_s: Annotated[float, Time(0, 30 * DAY_S)] = 2.0
    # A file closed empty waits this long for its bytes (W10).
    empty_grace_s: Annotated[float, Time(0, DAY_S)] = 5.0
    # Temporary shapes wait this long after their last close (N6).
    temporary_grace_s: Annotated[float, Time(0, 30 * DAY_S)] = 30.0
    # A removed file waits this long at the service for a new one of its name, which is uploaded first (W5).
    delete_wait_s: Annotated[float, Time(0, DAY_S)] = 1.0
    # A rename waits this long to merge with later ones (W7).
    reupload_wait_s: Annotated[float, Time(0, 30 * DAY_S)] = 30.0
    reupload_max_files: Annotated[int, Number(0, 1_000_000)] = 100
    reupload_max_bytes: Annotated[int, Size(0, EIB)] = 100 * MIB
    # When the listing is read back after a lost reply: files show up in it a few seconds late (W6).
    readback_after_s: Annotated[tuple[float, ...], Times(Time(0.01, HOUR_S), most=10)] = (5.0, 15.0)
    # A file that keeps changing: how long after one version the next is frozen and sent at the earliest, and how long
    # nothing has to follow a close for that to be sent as it is (W4).
    changing_pause_s: Annotated[float, Time(0, DAY_S)] = 30.0
    upload_workers: Annotated[int, Number(1, 100)] = 8
    # More pending intents than this make write and close wait, then fail with ENOSPC.
    backlog_intents: Annotated[int, Number(1, 10_000_000)] = 100_000
    replace_downloadable: Annotated[bool, Flag()] = False


class UploadConfig(Section, frozen=True, kw_only=True):
    """What an upload says of its file beside its name, and can never be changed later (M1, M3)."""

    # `plain`: text goes up as text/plain, the only text that a `document` block takes. `exact`: as its name suggests.
    text_type: Annotated[TextType, Word(get_args(TextType))] = "plain"
    # How long the service keeps files of these names, and files in folders of these names; the first that fits counts.
    expires_in: Annotated[tuple[tuple[str, float], ...], TimesByPattern(EXPIRY)] = ()


class RefreshConfig(Section, frozen=True, kw_only=True):
    """Listing the service into the tree (A1, A4)."""

    poll_in_use_s: Annotated[float, Time(0.01, DAY_S)] = 6.0
    poll_idle_s: Annotated[float, Time(0.01, 30 * DAY_S)] = 300.0
    # Without a kernel request for this long the mount counts as idle.
    idle_after_s: Annotated[float, Time(0, DAY_S)] = 60.0
    walk_every_s: Annotated[float, Time(1, 30 * DAY_S)] = 3600.0
    # Files in viewed folders are asked for by id this often, if a poll does not show all of them.
    check_viewed_every_s: Annotated[float, Time(1, DAY_S)] = 30.0
    # Polls and walks together use at most this part of the learned request limit.
    budget_fraction: Annotated[float, Part(least=0.001)] = 0.02
    # A large upload can appear below a newer known id.
    poll_overlap_s: Annotated[float, Time(0, 30 * DAY_S)] = 600.0
    first_listing_wait_s: Annotated[float, Time(0, DAY_S)] = 60.0
    # What others add and remove fires the kernel's events, by a helper process (M5).
    events: Annotated[bool, Flag()] = True
    # The guard against mass removal (S1).
    removal_guard_files: Annotated[int, Number(0, 10_000_000)] = 20
    removal_guard_fraction: Annotated[float, Part()] = 0.10
    # A file that became known only now is not missed yet: a listing may lag behind an upload.
    removal_min_age_s: Annotated[float, Time(0, DAY_S)] = 30.0
    trash_days: Annotated[float, Time(0, 36_500 * DAY_S, plain_s=DAY_S)] = 30.0


class NamesConfig(Section, frozen=True, kw_only=True):
    """The two lists of N6, as shell patterns on one name, what is hidden, and the mode of unreadable files (M8)."""

    # `no-read`: without read bits. Then the kernel refuses `user.*` attributes of such a file to all but root.
    unreadable_mode: Annotated[UnreadableMode, Word(get_args(UnreadableMode))] = "stored"
    # Names that the mount does not show. Nothing is changed or removed because of it, and none can be made there.
    hidden: Annotated[tuple[str, ...], Patterns()] = ()
    never_uploaded: Annotated[tuple[str, ...], Patterns()] = (
        ".DS_Store", "._*", "Thumbs.db", "desktop.ini", ".directory", ".nfs*", ".fuse_hidden*", ".Trash-*",
    )  # fmt: skip
    temporary: Annotated[tuple[str, ...], Patterns()] = (
        "*~", "*.sw[l-px]", "*.swpx", "4913", "#*#", ".#*", ".*.kate-swp",  # vim, nano, emacs, Kate
        ".goutputstream-*", ".~*", "~$*", "*.tmp",  # gio, LibreOffice and Jupyter, MS Office, very many
        "*.vsctmp", "*___jb_tmp___", "*___jb_old___",  # VS Code, JetBrains
        "*-journal", "*-wal", "*-shm", "*.crdownload", "*.part",  # SQLite, Chrome, Firefox
        "*.lock", "tmp_obj_*", ".tmp-*-pack-*", "*.pyc.[0-9]*",  # git, CPython's cache
        # Six characters of mkstemp: sed -i, zip, perl -i, git's packs and info files, patch, rsync.
        *(shape.replace("XXXXXX", "[A-Za-z0-9]" * 6) for shape in (
            "sedXXXXXX", "ziXXXXXX", "[X][X]XXXXXX", "tmp_*_XXXXXX", "refs_XXXXXX", "packs_XXXXXX", "*.oXXXXXX",
            ".*.XXXXXX",
        )),
        # glib and Qt save as `name.XXXXXX`: only with a capital among the six, for `.svelte` is an ordinary end.
        *("*." + "[a-z0-9]" * n + "[A-Z]" + "[A-Za-z0-9]" * (5 - n) for n in range(6)),
    )  # fmt: skip


class MountConfig(Section, frozen=True, kw_only=True):
    """The kernel's side of the mount."""

    # fusectl's max_background and congestion_threshold: the kernel's 12 let slow reads hold up fast ones.
    max_background: Annotated[int, Number(1, 65_535)] = 128
    # What the kernel reads ahead of a sequential reader, and so the size of its READs: at most 1 MiB each. Its own
    # 128 KiB cost a request, and our work for one, eight times as often.
    kernel_readahead_bytes: Annotated[int, Size(0, 128 * MIB)] = MIB
    max_tasks: Annotated[int, Number(1, 10_000)] = 500
    # How long the kernel may cache a name or an attribute. The mount reports every change to it.
    entry_timeout_s: Annotated[float, Time(0, 30 * DAY_S)] = 3600.0
    umount_drain_s: Annotated[float, Time(0, DAY_S)] = 60.0
    signal_drain_s: Annotated[float, Time(0, DAY_S)] = 30.0
    takeover_wait_s: Annotated[float, Time(0, HOUR_S)] = 10.0


class LogConfig(Section, frozen=True, kw_only=True):
    """What a mount writes down of itself (H4)."""

    # `info` tells a life: start, connection, refusals, a summary each hour, end.
    level: Annotated[LogLevel, Word(get_args(LogLevel))] = "info"
    # `json`: an object a line. `journald`: to the journal, and in plain lines to the file.
    format: Annotated[LogFormat, Word(get_args(LogFormat))] = "plain"
    # A line for each request of the kernel, in a file of its own.
    access: Annotated[bool, Flag()] = False


class MetricsConfig(Section, frozen=True, kw_only=True):
    """Figures for Prometheus (H5)."""

    # Empty: nowhere. They name the account and how much it holds, so only this machine may ask.
    listen: Annotated[str, ListenAddress()] = ""


class SharedConfig(Section, frozen=True, kw_only=True):
    """A store that the machines of an account share, for the bytes that the service does not give back (X1)."""

    # Empty: none. Credentials and endpoint come from the variables that the programs of each cloud share.
    store: Annotated[str, StoreAddress()] = ""
    # Each may hold some 32 MiB of memory for a large file; the store itself lets two large ones in at a time.
    upload_workers: Annotated[int, Number(1, 16)] = 4
    # How long the object of a file that is gone stays, from the day on which that is found (X6). 0: for ever.
    keep_deleted_days: Annotated[float, Time(DAY_S, 3650 * DAY_S, plain_s=DAY_S, or_zero="for ever")] = 7.0
    # Whether uploads that the store has may be evicted when the disk is short (X2).
    evict: Annotated[bool, Flag()] = True


class Config(Section, frozen=True, kw_only=True):
    """All sections."""

    service: ServiceConfig = ServiceConfig()
    cache: CacheConfig = CacheConfig()
    writeback: WritebackConfig = WritebackConfig()
    upload: UploadConfig = UploadConfig()
    refresh: RefreshConfig = RefreshConfig()
    names: NamesConfig = NamesConfig()
    mount: MountConfig = MountConfig()
    log: LogConfig = LogConfig()
    metrics: MetricsConfig = MetricsConfig()
    shared: SharedConfig = SharedConfig()
