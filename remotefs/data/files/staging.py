"""Bytes being written: one file per dirty inode, `<inode>-<generation>`, from the first write until it becomes content.

These bytes exist nowhere else. The name says whose they are, so that a crash loses nothing that is needed to find them.
Beside closed files lie their sums (`staged_sums`).
Files of other names that a crash leaves are removed: a copy that was being made (`.part`), and a frozen version
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
from remotefs.data.files.staged_sums import StagedSums
from remotefs.errors import AlreadyExists, NotFound, RemotefsError
from remotefs.store.disk import Disk, local_error, make_folder
from remotefs.store.durability import Durability
from remotefs.store.records import Inode
from remotefs.waits import waiting_for

# Inode and generation.
STAGED_NAME = re.compile(r"(\d{1,20})-(\d{1,20})")
_PART = ".part"
_FROZEN = ".frozen"
# 10,000 dirty files must not use up the 1,024 descriptors that a process usually may have.
_OPEN_FILES = 128
# Files whose size and sync state stay in memory, so that a write does not ask the kernel for them.
_RECENT_FILES = 1024
# A write waits while its file is frozen: as long as a close may wait, and not longer.
_FREEZE_S = 10.0


class StagedName(NamedTuple):
    """One staged file on the disk."""

    inode: int
    generation: int
    size: int
    mtime_ns: int


class Staging:
    """Owns the staging folder. `durability` makes its names survive a power cut, with the rows that refer to them.

    `chunk_bytes` divides the files for their sums.
    """

    def __init__(self, folder: Path, disk: Disk, durability: Durability, chunk_bytes: int = 128 * 1024) -> None:
        self._folder = folder
        self._disk = disk
        self._durability = durability
        self._descriptors: OpenFiles[Path, int] = OpenFiles(_OPEN_FILES, lambda _, fd: os.close(fd))
        # One object a file, as long as anybody holds it: its size has one owner. The recent ones are held here.
        self._files: WeakValueDictionary[Path, StagedFile] = WeakValueDictionary()
        self._recent: LRUCache[Path, StagedFile] = LRUCache(maxsize=_RECENT_FILES)
        # Files whose sync failed, for as long as they exist: a new object would call the next sync a success.
        self._lost: dict[Path, StagedFile] = {}
        self._copies = itertools.count(1)
        make_folder(folder)
        # An earlier process may have made names here without waiting for a sync.
        durability.named(folder)
        for suffix in (_PART, _FROZEN):
            for left in folder.glob(f"*{suffix}"):
                left.unlink()
        self.sums = StagedSums(folder, chunk_bytes)

    def create(self, inode: int, generation: int) -> StagedFile:
        """Make an empty staged file and return it. Raises AlreadyExists, OutOfSpace, StateUnusable."""
        file = self._staged(self.place(inode, generation), create=True)
        self._durability.named(self._folder)
        return file

    def open(self, inode: int, generation: int) -> StagedFile:
        """Return a staged file, the same object while it is in use. Raises NotFound, StateUnusable."""
        path = self.place(inode, generation)
        found = self._files.get(path)
        return found if found is not None else self._staged(path, create=False)

    def of(self, inode: Inode) -> StagedFile:
        """Return the staged file that a row names. Raises CorruptionError when it is missing, StateUnusable."""
        assert inode.staged_gen is not None
        try:
            return self.open(inode.ino, inode.staged_gen)
        except NotFound as error:
            raise self.sums.note_missing(inode, self.place(inode.ino, inode.staged_gen)) from error

    def path_of(self, inode: int, generation: int) -> Path | None:
        """Return the path of a staged file, None when it does not exist (any more)."""
        path = self.place(inode, generation)
        return path if path.exists() else None

    def place(self, inode: int, generation: int) -> Path:
        """Return the path that a staged file has, or would have."""
        return self._folder / f"{inode}-{generation}"

    def scan(self) -> list[StagedName]:
        """Return all staged files in the folder, sorted. Raises StateUnusable."""
        try:
            return sorted(self._scan())
        except OSError as error:
            raise local_error(error, self._folder) from error

    def discard(self, inode: int, generation: int) -> None:
        """Remove a staged file; do nothing when it is gone, as after its adoption. Raises StateUnusable."""
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
        """Make a staged file of the first `size` bytes of `source` and return it.

        Shares the blocks where the file system can, else copies them and keeps holes.

        Raises AlreadyExists, OutOfSpace, StateUnusable, CorruptionError when `source` is shorter.
        """
        async with self.copied(source, size) as give_name:
            return give_name(inode, generation)

    @asynccontextmanager
    async def copied(self, source: Path, size: int) -> AsyncIterator[Callable[[int, int], StagedFile]]:
        """Copy as clone() does, and give the block a function that names the copy by inode and generation.

        The function does not wait, so it can be called inside a transaction. A copy without a name is removed.

        Raises as clone() does.
        """
        part = self._folder / f"{next(self._copies)}{_PART}"
        try:
            # Open both at once: the content may be evicted while a thread starts.
            with opened(source, os.O_RDONLY) as origin, opened(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as copy:
                try:
                    await self._fill(origin, copy, size)
                    crashpoints.reached("staged copy is whole", part.name)
                    yield lambda inode, generation: self._name(part, self.place(inode, generation))
                finally:
                    with suppress(OSError):  # it may have its name; the next start removes what is left
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
        """Give a staged file a second name, to be sent as `version`; return that path. Raises StateUnusable.

        The first name may go then.
        """
        path = self._frozen_path(inode, version)
        try:
            os.link(self.place(inode, generation), path)
        except OSError as error:
            raise local_error(error, path) from error
        crashpoints.reached("staged file is set aside", path.name)
        return path

    def thaw(self, path: Path) -> None:
        """Remove a frozen version; one that cannot be removed now is removed at the next start."""
        with suppress(OSError):
            path.unlink(missing_ok=True)
        crashpoints.reached("frozen version is removed", path.name)

    def used_bytes(self) -> int:
        """Return the sum of the sizes of all files in the folder, in bytes. Raises StateUnusable."""
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
        try:
            return self._staged(path, create=False)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise

    def close(self) -> None:
        """Close all descriptors."""
        self._descriptors.close()

    async def _fill(self, origin: int, copy: int, size: int) -> None:
        with waiting_for("disk"):
            await trio.to_thread.run_sync(copy_bytes, origin, copy, size, self._require)
        # Nothing of it is acknowledged before there is a row that names it.
        write_label(copy, None)
        # It replaces bytes that are on the disk, so it has to be on the disk before a row names it.
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
                        continue  # in a working mount it may be removed between scandir and stat
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
        return AlreadyExists(f"{path}: a staged file of this name exists already")
    if error.errno == errno.ENOENT:
        return NotFound(f"{path}: no such staged file")
    return local_error(error, path)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # in a working mount it may be removed between scandir and stat
        return 0
