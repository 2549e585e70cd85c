"""Copying a file on this disk, for threads: its blocks are shared where the file system can, else its data copied."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from remotefs.errors import CorruptionError

# linux/fs.h: share the blocks of another file of the same file system (btrfs, XFS).
_FICLONE = 0x40049409
# After each piece it is seen whether the time is up.
_PIECE_BYTES = 8 << 20


@contextmanager
def opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor for as long as the block lasts; a symbolic link is refused."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def share_blocks(origin: int, copy: int) -> bool:
    """Whether the copy now shares all blocks of the origin."""
    try:
        fcntl.ioctl(copy, _FICLONE, origin)
    except OSError:  # another file system, or one that cannot
        return False
    return True


def copy_data(origin: int, copy: int, size: int, until_s: float = math.inf) -> None:
    """Copy the first `size` bytes; holes stay holes.

    Raises CorruptionError when there are fewer, TimeoutError once the monotonic clock is past `until_s`, OSError.
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
            copied = os.copy_file_range(origin, copy, min(end - position, _PIECE_BYTES), position, position)
            if copied == 0:
                raise CorruptionError("the file to copy was cut while it was copied")
            position += copied
