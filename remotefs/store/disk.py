"""The file system under the state folder: how much room it has (A8), and small files and folders made durably.

    staged write, cached chunk ──► require(size) ──► enough besides the reserve: go on
                                        │
                                        └ too little ──► reclaimers evict cached content ──► enough: go on
                                                                                             else OutOfSpace

Code that writes the bytes of files calls `Disk.require` first, so that they never eat the reserve on which unlink and
SQLite live. Content that can be fetched again goes before a write is refused; its owner registers as a reclaimer.
`require` may evict, so only the thread of the event loop calls it.

`write_durably` is the one way to replace a small file as a whole: write beside it, fsync, rename. The name is durable
only once the folder is synced as well. That is left to the caller, which can share the sync with others (`Durability`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from remotefs import crashpoints
from remotefs.config import CacheConfig
from remotefs.errors import LocalError, OutOfSpace, StateUnusable

# A reserve larger than this part of the disk would leave a small one with nothing to use.
_MAX_RESERVE_FRACTION = 0.25
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Space(Protocol):
    """The three figures of statvfs(3) that `Disk` uses."""

    @property
    def f_frsize(self) -> int:
        """Return the bytes of a block."""
        ...

    @property
    def f_blocks(self) -> int:
        """Return the number of blocks."""
        ...

    @property
    def f_bavail(self) -> int:
        """Return the number of blocks that an ordinary user may still take."""
        ...


class Disk:
    """The free space and the reserve of one file system.

    It asks the kernel each time, because statvfs costs 3 us and others write to the same disk.
    """

    def __init__(self, folder: Path, config: CacheConfig, statvfs: Callable[[Path], Space] = os.statvfs) -> None:
        self._folder = folder
        self._statvfs = statvfs
        self._reclaimers: list[Callable[[int], None]] = []
        space = statvfs(folder)
        self.capacity: int = space.f_blocks * space.f_frsize
        wanted = max(config.reserve_bytes, int(config.reserve_fraction * self.capacity))
        self.reserve: int = min(wanted, int(_MAX_RESERVE_FRACTION * self.capacity))

    def free(self) -> int:
        """Return the bytes that an ordinary user could still write, the reserve included."""
        space = self._statvfs(self._folder)
        return space.f_bavail * space.f_frsize

    def available(self) -> int:
        """Return the bytes that may be written without touching the reserve; below 0 where it is touched already."""
        return self.free() - self.reserve

    def room_for(self, size: int) -> bool:
        """Return whether `size` bytes leave the reserve whole."""
        return self.available() >= size

    def add_reclaimer(self, reclaim: Callable[[int], None]) -> None:
        """Register a function that frees bytes when the disk is short; it gets how many are missing."""
        self._reclaimers.append(reclaim)

    def require(self, size: int) -> None:
        """Make sure that `size` bytes can be written; free some where that is needed. Raises OutOfSpace."""
        if self.room_for(size):
            return
        for reclaim in self._reclaimers:
            reclaim(size - self.available())
            if self.room_for(size):
                return
        raise OutOfSpace(
            f"{self._folder}: only {max(self.free(), 0) >> 20} MiB are free on this disk and {self.reserve >> 20} MiB "
            "of it are kept in reserve; make room on it"
        )


def local_error(error: OSError, path: Path) -> LocalError:
    """Return the error for a failed file call: OutOfSpace for a full disk or quota, else StateUnusable."""
    kind = OutOfSpace if error.errno in _FULL else StateUnusable
    return kind(f"{path}: {error.strerror or error}")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, for a thread. Raises OSError that names the folder."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync_names(fd, folder)
    finally:
        os.close(fd)


def sync_names(fd: int, folder: Path) -> None:
    """Sync a folder that is open, as `sync_folder` does. Raises OSError that names the folder."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def make_folder(folder: Path) -> None:
    """Make a private folder whose name survives a power cut; harmless when it is there. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        sync_folder(folder.parent)


def write_durably(path: Path, data: bytes, what: str) -> None:
    """Replace a small private file as a whole, for a thread; `what` names its content, in the plural, at crash points.

    After a power cut the old file or the new one is there, and the new one once the folder was synced. Raises OSError.
    """
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, for its mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    crashpoints.reached(f"{what} are written", path.name)
    new.replace(path)
    crashpoints.reached(f"{what} have their name", path.name)
