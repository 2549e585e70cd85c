"""Who has what: open files, open directories, and how often the kernel holds each inode's number.

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
    # How far it was read, as far as the kernel asked; what it has cached it does not ask for.
    read_to: int = 0
    # Its length is not sure: it is read without the kernel's cache (R6).
    direct: bool = False
    # Bytes were written through it since its last FLUSH that counted (W4).
    wrote: bool = False
    # FLUSHes that counted; from the second on the descriptor is taken for shared (W4).
    counted: int = 0

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY


@dataclass(frozen=True)
class HandleStatistics:
    """For `status` and for tests that look for leaks."""

    files: int
    directories: int
    known_inodes: int


class Handles:
    """Owns the handles and the lookup counts; `on_listing` is told of each directory that somebody opens."""

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
        """A new handle."""
        handle = OpenFile(next(self._numbers), ino, flags)
        self._files[handle.fh] = handle
        (self._writers if handle.writable else self._readers)[ino] += 1
        return handle

    def file(self, fh: int) -> OpenFile:
        """The handle of that number."""
        handle = self._files.get(fh)
        if handle is None:
            raise InvalidArgument(f"no open file has the handle {fh}")
        return handle

    def close_file(self, fh: int) -> OpenFile:
        """The last descriptor of a handle is gone."""
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
        """Whether any file handle of the inode is open."""
        return ino in self._readers or ino in self._writers

    def is_open_for_write(self, ino: int) -> bool:
        """Whether a file handle that can write is open."""
        return ino in self._writers

    # -- directories

    def open_directory(self, ino: int) -> int:
        """A new directory handle."""
        fh = next(self._numbers)
        self._directories[fh] = ino
        self._open_directories[ino] += 1
        self._on_listing(ino)
        return fh

    def directory(self, fh: int) -> int:
        """The inode of a directory handle."""
        ino = self._directories.get(fh)
        if ino is None:
            raise InvalidArgument(f"no open directory has the handle {fh}")
        return ino

    def close_directory(self, fh: int) -> None:
        """The directory handle is gone."""
        _decrement(self._open_directories, self._directories.pop(fh))

    def is_directory_open(self, ino: int) -> bool:
        """Whether somebody is reading the directory."""
        return ino in self._open_directories

    # -- lookup counts

    def looked_up(self, ino: int) -> None:
        """The kernel was given the inode's number once more."""
        # Not `+= 1`: a Counter answers for what it does not have by a call, and each entry of each listing comes here.
        self._lookups[ino] = self._lookups.get(ino, 0) + 1

    def forget(self, ino: int, count: int) -> bool:
        """The kernel gives `count` of them back; whether that was the last."""
        self._lookups[ino] -= count
        if self._lookups[ino] > 0:
            return False
        del self._lookups[ino]
        return True

    def is_known(self, ino: int) -> bool:
        """Whether the kernel may ask for the inode by its number."""
        return ino in self._lookups

    def statistics(self) -> HandleStatistics:
        """A record of now."""
        return HandleStatistics(len(self._files), len(self._directories), len(self._lookups))


def _decrement(counter: Counter[int], key: int) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
