"""The records of a transfer: an entry to copy, and what became of it."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from remotefs.mount.copying import Looks


class Kind(StrEnum):
    """The kinds of entries that are copied."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"

    @classmethod
    def of(cls, mode: int) -> Kind | None:
        """Return the kind that a mode of stat(2) means; None for a FIFO, a socket or a device."""
        if stat.S_ISREG(mode):
            return cls.FILE
        if stat.S_ISDIR(mode):
            return cls.FOLDER
        return cls.LINK if stat.S_ISLNK(mode) else None


class Upload(NamedTuple):
    """An entry of this machine and its path in the tree; `target` is that of a symbolic link."""

    kind: Kind
    source: Path
    path: str
    looks: Looks
    target: bytes = b""


class Download(NamedTuple):
    """An entry of the tree and its place below the destination, as names; `target` is that of a symbolic link.

    One without a kind cannot be copied, for `reason`.
    """

    kind: Kind | None
    path: str
    place: tuple[str, ...]
    looks: Looks = Looks(0, 0, 0, 0)
    target: bytes = b""
    reason: str = ""


class Outcome(StrEnum):
    """What became of an entry. The words are those of `--json`."""

    # put
    SENT = "sent"
    UNCHANGED = "unchanged"
    PENDING = "pending"
    REFUSED = "refused"
    LOCAL = "local"
    # get
    FETCHED = "fetched"
    PRESENT = "present"
    # both
    FAILED = "failed"


class Transferred(NamedTuple):
    """One file: `path` in the tree, its other end on this machine, its size in bytes, and why it is not there."""

    outcome: Outcome
    path: str
    local: Path
    size: int = 0
    file_id: str | None = None
    reason: str | None = None


ODD_KIND = "it is neither a regular file, a folder nor a symbolic link"
Attributes = Mapping[bytes, bytes]


def reason_of(error: Exception) -> str:
    """Return an error for a person, without the path that stands before it anyway."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
