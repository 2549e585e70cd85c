"""Copying one file to a place outside of the mount: whole under its name, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from remotefs.errors import AlreadyExists, CorruptionError
from remotefs.store.records import Inode

_PIECE_BYTES = 1 << 20


class Looks(NamedTuple):
    """The length (bytes), mode and times (ns since the epoch) that a copy gets."""

    size: int
    mode: int
    atime_ns: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Looks:
        """Return those of a file of this machine."""
        return cls(status.st_size, status.st_mode, status.st_atime_ns, status.st_mtime_ns)

    @classmethod
    def of_inode(cls, inode: Inode) -> Looks:
        """Return those of a file of the tree."""
        return cls(inode.size, inode.mode, inode.atime_ns, inode.mtime_ns)


def copy_file(source: BinaryIO, target: Path, looks: Looks, *, force: bool) -> None:
    """Copy a file, for a thread. Raises OSError, AlreadyExists, CorruptionError where it is shorter than it looks."""
    with placing(target, force=force) as new:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as copy:  # noqa: PTH123 - a descriptor, for its mode and its flags
            copy_bytes(source, copy.fileno(), looks.size)
            dress(fd, looks)


def dress(fd: int, looks: Looks) -> None:
    """Give a copy its mode, without set-id bits, and its times. Raises OSError."""
    os.fchmod(fd, stat.S_IMODE(looks.mode) & 0o777)
    os.utime(fd, ns=(looks.atime_ns, looks.mtime_ns))


def copy_bytes(source: BinaryIO, target: int, size: int, check: Callable[[], None] = lambda: None) -> None:
    """Write the next `size` bytes of `source` to a descriptor; `check` may raise between two pieces.

    Raises OSError, CorruptionError where it is shorter.
    """
    left = size
    while left:
        piece = source.read(min(left, _PIECE_BYTES))
        if not piece:
            raise CorruptionError(f"{source.name}: it ends {left} bytes early")
        left -= len(piece)
        check()
        while piece:
            piece = piece[os.write(target, piece) :]


@contextmanager
def placing(target: Path, *, force: bool) -> Iterator[Path]:
    """Give a name beside `target` that becomes `target` at the end, or goes. Raises AlreadyExists."""
    if not force and os.path.lexists(target):
        raise AlreadyExists(f"{target} exists; --force overwrites it")
    new = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")
    new.unlink(missing_ok=True)
    try:
        yield new
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
