"""The rows of the store as immutable records, and the words their columns use."""

from __future__ import annotations

import stat
from enum import IntEnum, StrEnum
from typing import NamedTuple

ROOT_INO = 1
# The due time of an intent that waits for something to happen to its inode.
NEVER_NS = 1 << 62


class ContentState(IntEnum):
    """Where a regular file's bytes stand.

    CLEAN -- first write --> DIRTY -- a close that counts --> CLOSED -- upload confirmed --> CLEAN;
    a write turns CLOSED back to DIRTY.
    """

    CLEAN = 0
    DIRTY = 1
    CLOSED = 2


class Origin(IntEnum):
    """Where a remote file came from; it decides who may delete it (S3)."""

    FOREIGN = 0
    OURS = 1
    # Taken for ours by W6: deleted only when the user unlinks or replaces it.
    ADOPTED = 2


class IntentKind(StrEnum):
    """Kinds of pending remote work."""

    UPLOAD = "upload"
    REUPLOAD = "reupload"
    DELETE = "delete"


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
        """Whether it is a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return stat.S_ISREG(self.mode)


class Entry(NamedTuple):
    """A directory entry and, as stat(2) tells them, the attributes of what it names.

    Flat and no wider than readdir needs: large trees are listed in these.
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
        """Whether it names a directory."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether it names a regular file."""
        return stat.S_ISREG(self.mode)

    @classmethod
    def of(cls, cookie: int, name: str, inode: Inode) -> Entry:
        """The entry of that name for an inode."""
        return cls._make((cookie, name, *inode[: len(cls._fields) - 2]))


class Remote(NamedTuple):
    """A row of `remote`: what is known of a remote file."""

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
        """The filename that its upload asked for."""
        return self.asked or self.filename

    @property
    def size_as_listed(self) -> int:
        """The size that listings say; replies may have shown another (R6)."""
        return self.size if self.listed_size is None else self.listed_size

    @property
    def age_key(self) -> tuple[int, str]:
        """Orders conflict copies: the largest is the newest (N3)."""
        return (self.created_ns, self.file_id)


class Attempt(NamedTuple):
    """A POST that was about to be sent: enough to look for what became of it (W6)."""

    name: str
    size: int
    at_ns: int
    newest_ns: int
    generation: int


class Intent(NamedTuple):
    """A row of `intent`."""

    seq: int
    kind: IntentKind
    ino: int | None
    file_id: str | None
    replaces: tuple[str, ...]
    due_ns: int
    tries: int
    reason: str | None
    attempt: Attempt | None
