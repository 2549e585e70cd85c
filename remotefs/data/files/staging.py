"""Bytes being written: one file per dirty inode, `<inode>-<generation>`, from the first write until it becomes content.

What is written here exists nowhere else. The name says whose it is, so that nothing has to be remembered elsewhere to
find it after a crash. What that leaves under other names is removed: a copy that was being made, and a frozen version
(`<inode>-<generation>.frozen`), which is older than the staged file beside it.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

import trio
from cachetools import LRUCache

from remotefs import crashpoints
from remotefs.data.content.copying import copy_bytes, opened
from remotefs.data.content.labels import write_label
from remotefs.data.content.open_files import OpenFiles
from remotefs.data.files.staged_file import StagedFile
from remotefs.errors import AlreadyExists, NotFound, RemotefsError
from remotefs.store.disk import Disk, local_error, make_folder
from remotefs.store.durability import Durability

# Inode and generation.
STAGED_NAME = re.compile(r"(\d{1,20})-(\d{1,20})")
_PART = ".part"
_FROZEN = ".frozen"
# 10,000 dirty files must not exhaust the 1,024 descriptors that a process usually has.
_OPEN_FILES = 128
# Files whose size and sync state stay in memory, so that a write does not ask the kernel for them.
_RECENT_FILES = 1024
# A write waits while its file is frozen: as long as a close may wait, and no longer.
_FREEZE_S = 10.0


class StagedName(NamedTuple):
    """One staged file on the disk."""

    inode: int
    generation: int
    size: int
    mtime_ns: int


class Staging:
    """Owns the folder; `durability` makes the names in it survive, with the rows that refer to them."""

    def __init__(self, folder: Path, disk: Disk, durability: Durability) -> None:
        self._folder = folder
        self._disk = disk
        self._durability = durability
        self._descriptors: OpenFiles[Path, int] = OpenFiles(_OPEN_FILES, lambda _, fd: os.close(fd))
        # One object a file, as long as anybody holds it: its size has one owner. The recent ones are held here.
        self._files: WeakValueDictionary[Path, StagedFile] = WeakValueDictionary()
        self._recent: LRUCache[Path, StagedFile] = LRUCache(maxsize=_RECENT_FILES)
        # Those whose sync failed, for as long as they are there: a new object would call the next sync a success.
        self._lost: dict[Path, StagedFile] = {}
        self._copies = itertools.count(1)
        make_folder(folder)
        # What an earlier process made, and did not wait for.
        durability.named(folder)
        for suffix in (_PART, _FROZEN):
            for left in folder.glob(f"*{suffix}"):
                left.unlink()

    def create(self, inode: int, generation: int) -> StagedFile:
        """A new empty file. Raises AlreadyExists, OutOfSpace, StateUnusable."""
        file = self._staged(self.place(inode, generation), create=True)
        self._durability.named(self._folder)
        return file

    def open(self, inode: int, generation: int) -> StagedFile:
        """One that is there; the same object for the same file while it is in use. Raises NotFound, StateUnusable."""
        path = self.place(inode, generation)
        found = self._files.get(path)
        return found if found is not None else self._staged(path, create=False)

    def path_of(self, inode: int, generation: int) -> Path | None:
        """Where one is; None when it is not there (any more)."""
        path = self.place(inode, generation)
        return path if path.exists() else None

    def place(self, inode: int, generation: int) -> Path:
        """Return where one lies, or would."""
        return self._folder / f"{inode}-{generation}"

    def scan(self) -> list[StagedName]:
        """All that is there, as after a crash. Raises StateUnusable."""
        try:
            return sorted(self._scan())
        except OSError as error:
            raise local_error(error, self._folder) from error

    def discard(self, inode: int, generation: int) -> None:
        """Remove one; harmless when it is gone, as after its adoption. Raises StateUnusable."""
        path = self.place(inode, generation)
        self._descriptors.release(path)
        self._files.pop(path, None)
        self._recent.pop(path, None)
        self._lost.pop(path, None)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise local_error(error, path) from error
        crashpoints.reached("staged file is discarded", path.name)

    async def clone(self, inode: int, generation: int, source: Path, size: int) -> StagedFile:
        """A new file with the first `size` bytes of another: blocks shared where that works, else copied with holes.

        Raises AlreadyExists, OutOfSpace, StateUnusable, CorruptionError when the other is shorter.
        """
        async with self.copied(source, size) as give_name:
            return give_name(inode, generation)

    @asynccontextmanager
    async def copied(self, source: Path, size: int) -> AsyncIterator[Callable[[int, int], StagedFile]]:
        """Copy as clone() does; the block names the copy by inode and generation, without waiting, or it is removed.

        Raises what clone() does.
        """
        part = self._folder / f"{next(self._copies)}{_PART}"
        try:
            # Opened at once: the content may be evicted while a thread starts.
            with opened(source, os.O_RDONLY) as origin, opened(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copy:
                try:
                    await self._fill(origin, copy, size)
                    crashpoints.reached("staged copy is whole", part.name)
                    yield lambda inode, generation: self._name(part, self.place(inode, generation))
                finally:
                    part.unlink()
        except OSError as error:
            raise _refusal(error, part) from error

    async def freeze(self, inode: int, generation: int, version: int, size: int) -> Path:
        """Copy the first `size` bytes of a staged file, to be sent as `version`; nothing is synced.

        Raises OutOfSpace, StateUnusable, also when it takes too long.
        """
        path = self._frozen_path(inode, version)
        try:
            with (
                opened(self.place(inode, generation), os.O_RDONLY) as origin,
                opened(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copy,
            ):
                await trio.to_thread.run_sync(copy_bytes, origin, copy, size, self._require, _FREEZE_S)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise local_error(error, path) from error
            raise
        crashpoints.reached("staged file is frozen", path.name)
        return path

    def set_aside(self, inode: int, generation: int, version: int) -> Path:
        """Keep a staged file by a second name, to be sent as `version`; the first may go then. Raises StateUnusable."""
        path = self._frozen_path(inode, version)
        try:
            os.link(self.place(inode, generation), path)
        except OSError as error:
            raise local_error(error, path) from error
        crashpoints.reached("staged file is set aside", path.name)
        return path

    def thaw(self, path: Path) -> None:
        """Remove a frozen version; one that cannot be removed goes at the next start."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
        crashpoints.reached("frozen version is removed", path.name)

    def used_bytes(self) -> int:
        """The sizes of all that lies here, in bytes. Raises StateUnusable."""
        try:
            with os.scandir(self._folder) as entries:
                return sum(map(_size_of, entries))
        except OSError as error:
            raise local_error(error, self._folder) from error

    def _frozen_path(self, inode: int, version: int) -> Path:
        return self._folder / f"{inode}-{version}{_FROZEN}"

    def _name(self, part: Path, path: Path) -> StagedFile:
        try:
            os.link(part, path)  # unlike a rename it does not replace
        except OSError as error:
            raise _refusal(error, path) from error
        self._durability.named(self._folder)
        crashpoints.reached("staged copy has its name", path.name)
        return self._staged(path, create=False)

    def close(self) -> None:
        """Close all descriptors."""
        self._descriptors.close()

    async def _fill(self, origin: int, copy: int, size: int) -> None:
        await trio.to_thread.run_sync(copy_bytes, origin, copy, size, self._require)
        # Nothing of it is acknowledged before there is a row that names it.
        write_label(copy, None)
        # It takes the place of bytes that are on the disk: so must it be, before there is a row that says so.
        await trio.to_thread.run_sync(os.fdatasync, copy)

    def _require(self, size: int) -> None:
        """Make room for `size` bytes, from a thread; only the loop's thread evicts content. Raises OutOfSpace."""
        trio.from_thread.run_sync(self._disk.require, size)

    def _scan(self) -> Iterator[StagedName]:
        with os.scandir(self._folder) as entries:
            for entry in entries:
                match = STAGED_NAME.fullmatch(entry.name)
                if match:
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # in a working mount it may go between the two looks at it
                    yield StagedName(int(match[1]), int(match[2]), status.st_size, status.st_mtime_ns)

    def _staged(self, path: Path, *, create: bool) -> StagedFile:
        try:
            file = StagedFile(path, self._disk, self._descriptors, self._keep_lost, create=create)
        except FileNotFoundError as error:
            if create:  # the folder itself is gone
                raise local_error(error, path) from error
            raise _refusal(error, path) from error
        except OSError as error:
            raise _refusal(error, path) from error
        self._files[path] = self._recent[path] = file
        return file

    def _keep_lost(self, file: StagedFile) -> None:
        if self._files.get(file.path) is file:  # else it was discarded meanwhile
            self._lost[file.path] = file


def _refusal(error: OSError, path: Path) -> RemotefsError:
    if error.errno == errno.EEXIST:
        return AlreadyExists(f"{path}: there is a staged file of this name already")
    if error.errno == errno.ENOENT:
        return NotFound(f"{path}: there is no such staged file")
    return local_error(error, path)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # in a working mount it may go between the two looks at it
        return 0
