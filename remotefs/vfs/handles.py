"""Handles of open files and directories, and the lookup count of each inode that the kernel knows.

An inode without a name lives on for as long as a handle or a lookup count holds it.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from remotefs.broadcast import Broadcast
from remotefs.data.download.readahead import ReadWindow
from remotefs.errors import InvalidArgument


@dataclass
class OpenFile:
    """One open file description."""

    fh: int
    ino: int
    flags: int
    window: ReadWindow = field(default_factory=ReadWindow)
    # The end of the farthest read in bytes. Reads that the kernel answers from its cache do not come here.
    read_to: int = 0
    # How many bytes those reads brought.
    read_bytes: int = 0
    # Its length is not sure, so it is read without the kernel's cache (R6).
    direct: bool = False
    # Bytes were written through it since its last FLUSH that counted (W4).
    wrote: bool = False
    # The number of FLUSHes that counted. From the second on the descriptor counts as shared (W4).
    counted: int = 0

    @property
    def writable(self) -> bool:
        """Return whether the handle was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY


@dataclass(frozen=True)
class HandleStatistics:
    """Counts for `status`, and for tests that look for leaks."""

    files: int
    directories: int
    known_inodes: int


class Handles:
    """Owns the handles and the lookup counts; calls `on_listing` with each directory that is opened."""

    def __init__(self, on_listing: Callable[[int], None] = lambda _: None) -> None:
        self._on_listing = on_listing
        self._numbers = itertools.count(1)
        self._files: dict[int, OpenFile] = {}
        self._last_closed = Broadcast()
        self._directories: dict[int, int] = {}
        self._readers: Counter[int] = Counter()
        self._writers: Counter[int] = Counter()
        self._open_directories: Counter[int] = Counter()
        self._lookups: Counter[int] = Counter()

    # -- files

    def open_file(self, ino: int, flags: int) -> OpenFile:
        """Make a handle for a file and return it."""
        handle = OpenFile(next(self._numbers), ino, flags)
        self._files[handle.fh] = handle
        (self._writers if handle.writable else self._readers)[ino] += 1
        return handle

    def file(self, fh: int) -> OpenFile:
        """Return the handle of a number. Raises InvalidArgument."""
        handle = self._files.get(fh)
        if handle is None:
            raise InvalidArgument(f"no open file has the handle {fh}")
        return handle

    def close_file(self, fh: int) -> OpenFile:
        """Drop a handle whose last descriptor is gone, and return it. Raises InvalidArgument."""
        handle = self.file(fh)
        del self._files[fh]
        _decrement(self._writers if handle.writable else self._readers, handle.ino)
        if not self._files:
            self._last_closed.notify()
        return handle

    async def all_closed(self) -> None:
        """Return once no file is open."""
        while self._files:
            await self._last_closed.wait()

    def is_open(self, ino: int) -> bool:
        """Return whether the inode has an open file handle."""
        return ino in self._readers or ino in self._writers

    def is_open_for_write(self, ino: int) -> bool:
        """Return whether the inode has an open file handle that can write."""
        return ino in self._writers

    # -- directories

    def open_directory(self, ino: int) -> int:
        """Make a handle for a directory and return its number."""
        fh = next(self._numbers)
        self._directories[fh] = ino
        self._open_directories[ino] += 1
        self._on_listing(ino)
        return fh

    def directory(self, fh: int) -> int:
        """Return the inode number of a directory handle. Raises InvalidArgument."""
        ino = self._directories.get(fh)
        if ino is None:
            raise InvalidArgument(f"no open directory has the handle {fh}")
        return ino

    def close_directory(self, fh: int) -> None:
        """Drop a directory handle."""
        _decrement(self._open_directories, self._directories.pop(fh))

    def is_directory_open(self, ino: int) -> bool:
        """Return whether the directory has an open handle."""
        return ino in self._open_directories

    # -- lookup counts

    def looked_up(self, ino: int) -> None:
        """Count one more reply that gave the inode's number to the kernel."""
        # Not `+= 1`: for a missing key a Counter makes a Python call, and each entry of each listing comes here.
        self._lookups[ino] = self._lookups.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> bool:
        """Take `count` lookups back that the kernel forgets; return whether those were the last."""
        self._lookups[ino] -= count
        if self._lookups[ino] > 0:
            return False
        del self._lookups[ino]
        return True

    def is_known(self, ino: int) -> bool:
        """Return whether the kernel may still use the inode's number in a request."""
        return ino in self._lookups

    def statistics(self) -> HandleStatistics:
        """Return the counts of this moment."""
        return HandleStatistics(len(self._files), len(self._directories), len(self._lookups))


def _decrement(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
