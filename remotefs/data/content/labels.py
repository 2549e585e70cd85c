"""Labels: each file of bytes that exist only here says whose they are, so that the database is not needed for it.

Rows are the truth, and a disk can lose them: damage to the log loses all commits after it. So staged files and pinned
content carry a label, an extended attribute of their own file:

    absent          nobody knows whose bytes these are: no mount removes them by itself
    empty (void)    not acknowledged to anybody yet, or given up by their user: without a row they may go
    JSON            the path that the file has in the tree, and its attributes

A label needs no sync of its own: it is set before the bytes are synced, and a later label (after a rename) is only a
better name. Where the file system has no extended attributes, all bytes without a row are kept.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from enum import Enum
from pathlib import Path

import msgspec

from remotefs.store.records import Inode

ATTRIBUTE = "user.remotefs.label"
# ext4 keeps all attributes of a file in one block. A longer path keeps its end.
_MOST_PATH_BYTES = 2000
_UNSUPPORTED = frozenset({errno.ENOTSUP, errno.ENOSYS})


class Label(msgspec.Struct, frozen=True, kw_only=True):
    """The path of a file in the tree, and its mode and owner, as of when the label was written."""

    path: str
    mode: int = 0o100644
    uid: int = 0
    gid: int = 0

    @classmethod
    def of(cls, inode: Inode, path: str) -> Label:
        """Return the label of an inode at a path."""
        return cls(path=_shortened(path), mode=inode.mode, uid=inode.uid, gid=inode.gid)


class NoLabel(Enum):
    """The two cases in which a file has no label to read."""

    VOID = "void"
    ABSENT = "absent"


def read_label(file: Path) -> Label | NoLabel:
    """Return the label of a file; ABSENT where there is none, or none that can be read."""
    try:
        value = os.getxattr(file, ATTRIBUTE)
        return msgspec.json.decode(value, type=Label) if value else NoLabel.VOID
    except (OSError, msgspec.DecodeError):
        return NoLabel.ABSENT


def write_label(file: Path | int, label: Label | None) -> None:
    """Set the label of a file, or make it void; without effect where the file system has no labels or no room."""
    try:
        os.setxattr(file, ATTRIBUTE, b"" if label is None else msgspec.json.encode(label))
    except OSError as error:
        # Bytes without a label are kept all the same: only their name would be lost with their row.
        if label is None and error.errno not in _UNSUPPORTED:
            _take_away(file)


def copy_label(source: int, target: int) -> None:
    """Copy the label of one open file to another; without effect where there is none, or no room."""
    with suppress(OSError):
        os.setxattr(target, ATTRIBUTE, os.getxattr(source, ATTRIBUTE))


def _take_away(file: Path | int) -> None:
    """Remove a label that cannot be made void: it must not name bytes that were given up."""
    try:
        os.removexattr(file, ATTRIBUTE)
    except OSError:
        return


def _shortened(path: str) -> str:
    """Return the last components of a path that fit a label; at least one does, because a component is limited."""
    components = path.split("/")
    while len("/".join(components).encode()) > _MOST_PATH_BYTES:
        del components[0]
    return "/".join(components)
