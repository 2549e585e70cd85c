"""Copying a file, for threads: the file system shares its blocks where it can, else the data is copied."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from remotefs.data.content.labels import copy_label
from remotefs.errors import CorruptionError

# linux/fs.h: share the blocks of another file of the same file system (btrfs, XFS).
_FICLONE = 0x40049409
# copy_file_range(2) fails so on some file systems, and on most between two of them.
_NOT_BETWEEN = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
# The time is checked after each piece.
_PIECE_BYTES = 8 << 20


def duplicate(source: Path, target: Path) -> int:
    """Copy a file with its times and its label to a new one on any disk, synced; return its size in bytes.

    Raises OSError, CorruptionError when the source is cut meanwhile.
    """
    with opened(source, os.O_RDONLY) as origin, opened(target, os.O_RDWR | os.O_CREAT | os.O_EXCL) as copy:
        status = os.fstat(origin)
        copy_bytes(origin, copy, status.st_size)
        copy_label(origin, copy)
        os.utime(copy, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(copy)
        return status.st_size


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file for as long as the block lasts; a symbolic link is refused."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def copy_bytes(
    origin: int, copy: int, size: int, require: Callable[[int], None] = lambda _: None, most_s: float = math.inf
) -> None:
    """Give the empty file `copy` the first `size` bytes of another, for a thread: shared blocks, or copied data.

    Data is copied only after `require` has returned, which gets its size and may raise. Raises CorruptionError when the
    other file is shorter, TimeoutError when copying the data takes over `most_s` seconds, OSError.
    """
    if not _share_blocks(origin, copy):
        require(size)
        _copy_data(origin, copy, size, time.monotonic() + most_s)
    os.ftruncate(copy, size)


def _share_blocks(origin: int, copy: int) -> bool:
    """Make the copy share all blocks of the origin; return whether the file system can."""
    try:
        fcntl.ioctl(copy, _FICLONE, origin)
    except OSError:  # another file system, or one without shared blocks
        return False
    return True


def _copy_data(origin: int, copy: int, size: int, until_s: float) -> None:
    """Copy the first `size` bytes; holes stay holes.

    Raises CorruptionError when the origin is shorter, TimeoutError once the monotonic clock is past `until_s`, OSError.
    """
    if os.fstat(origin).st_size < size:
        raise CorruptionError(f"the file to copy has less than the {size} bytes that it should have")
    position = 0
    while position < size:
        try:
            position = os.lseek(origin, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = min(os.lseek(origin, position, os.SEEK_HOLE), size)
        while position < end:
            if time.monotonic() > until_s:
                raise TimeoutError(errno.ETIMEDOUT, "copying it takes too long")
            copied = _copy_piece(origin, copy, min(end - position, _PIECE_BYTES), position)
            if copied == 0:
                raise CorruptionError("the file to copy was cut while it was copied")
            position += copied


def _copy_piece(origin: int, copy: int, size: int, position: int) -> int:
    """Copy at most `size` bytes; return how many, 0 at the end of the file."""
    try:
        return os.copy_file_range(origin, copy, size, position, position)
    except OSError as error:
        if error.errno not in _NOT_BETWEEN:
            raise
    return os.pwrite(copy, os.pread(origin, size, position), position)
