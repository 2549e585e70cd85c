"""The rows of the store as immutable records, and the values of their columns. `schema` says what each column holds."""

from __future__ import annotations

import stat
from enum import IntEnum, StrEnum
from typing import NamedTuple

ROOT_INO = 1
# The due time of an intent that waits for an event of its inode, such as a close.
NEVER_NS = 1 << 62


class ContentState(IntEnum):
    """The state of a regular file's bytes.

    CLEAN -- first write --> DIRTY -- a close that counts --> CLOSED -- upload confirmed --> CLEAN.
    A write turns CLOSED back into DIRTY.
    """

    CLEAN = 0
    DIRTY = 1
    CLOSED = 2


class Origin(IntEnum):
    """The origin of a remote file, which decides when it may be deleted (S3)."""

    FOREIGN = 0
    OURS = 1
    # Taken for ours after a lost reply (W6). It is deleted only when the user unlinks or replaces it.
    ADOPTED = 2


class IntentKind(StrEnum):
    """Kinds of pending remote work."""

    UPLOAD = "upload"
    REUPLOAD = "reupload"
    DELETE = "delete"


class ShareState(IntEnum):
    """Whether the shared store has the bytes of an upload, or is to have them.

    WITHHELD -- they were taken out, and are not put again. With a reason the object may still be there.
    """

    WAITING = 0
    STORED = 1
    WITHHELD = 2


class Share(NamedTuple):
    """A row of `share`: an upload whose bytes go into the shared store. Times in ns."""

    file_id: str
    state: ShareState | int
    tries: int
    due_ns: int
    reason: str | None


class Inode(NamedTuple):
    """A row of `inode`; times in ns since the epoch, sizes in bytes."""

    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    target: bytes | None
    parent: int | None
    implied: int
    state: ContentState | int
    content_gen: int
    staged_gen: int | None
    file_id: str | None
    conflict_id: str | None
    replaced_by: int | None
    closed_ns: int

    @property
    def is_dir(self) -> bool:
        """Return whether the inode is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Return whether the inode is a regular file."""
        return stat.S_ISREG(self.mode)


class Entry(NamedTuple):
    """A directory entry with the attributes of its inode, as stat(2) shows them.

    It is flat and has only the columns that readdir needs, because large trees are listed in these records.
    """

    cookie: int
    name: str
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int

    @property
    def is_dir(self) -> bool:
        """Return whether the entry names a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Return whether the entry names a regular file."""
        return stat.S_ISREG(self.mode)

    @classmethod
    def of(cls, cookie: int, name: str, inode: Inode) -> Entry:
        """Return the entry that gives the inode this name."""
        # The columns of both records stand in the same order from `ino` to `ctime_ns`, with `cookie` and `name` before.
        return cls._make((cookie, name, *inode[: len(cls._fields) - 2]))


class Remote(NamedTuple):
    """A row of `remote`: everything that is known of a remote file. Sizes in bytes, times in ns since the epoch."""

    file_id: str
    filename: str
    size: int
    mime_type: str
    created_ns: int
    expires_ns: int | None
    downloadable: bool | int
    origin: Origin | int
    ino: int | None = None
    tombstoned: int = 0
    missed: int = 0
    digest: str | None = None
    known_ns: int = 0
    asked: str | None = None
    foreseen: int | None = None
    listed_size: int | None = None

    @property
    def asked_name(self) -> str:
        """Return the filename that its upload asked for, which the service may have changed (N2)."""
        return self.asked or self.filename

    @property
    def size_as_listed(self) -> int:
        """Return the size in listings, in bytes. Replies may have shown that the content has another (R6)."""
        return self.size if self.listed_size is None else self.listed_size

    @property
    def age_key(self) -> tuple[int, str]:
        """Return the key that orders the files of one path by age: the largest belongs to the newest (N3)."""
        return (self.created_ns, self.file_id)


class Attempt(NamedTuple):
    """A POST that was about to be sent: the facts by which its outcome can be found in the listing (W6)."""

    name: str
    size: int
    at_ns: int
    newest_ns: int
    generation: int


class Intent(NamedTuple):
    """A row of `intent`: one piece of pending work at the service. Times in ns."""

    seq: int
    kind: IntentKind
    ino: int | None
    file_id: str | None
    replaces: tuple[str, ...]
    due_ns: int
    tries: int
    reason: str | None
    attempt: Attempt | None
    # The HTTP status with which the service refused what is to be sent; None: it did not.
    refused: int | None = None
