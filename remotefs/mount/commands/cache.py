"""Content on this disk: `warm`, `pin`, `unpin`, and `cache info`, `trim` and `clear`.

A file that was confirmed a moment ago is still staged. `Promoter.finish` makes it content first, so that the commands
see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import trio

from remotefs.api.budget import Priority
from remotefs.control.messages.base import Command, Leftover, Nothing, Report
from remotefs.control.messages.cache import (
    CACHE_CLEAR,
    CACHE_INFO,
    CACHE_TRIM,
    UNPIN,
    WARM,
    CacheInfo,
    ClearParams,
    Freed,
    SoleCopies,
    TrimParams,
    UnpinParams,
    UnpinResult,
    WarmParams,
    WarmResult,
)
from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.files.locator import Locator
from remotefs.data.files.reader import FileReader
from remotefs.data.files.staging import Staging
from remotefs.data.intents.paths import InodePaths
from remotefs.data.share.releaser import Releaser
from remotefs.data.writeback.promoter import Promoter
from remotefs.errors import ObjectStoreError, OutOfSpace, RemotefsError
from remotefs.mount.commands.lookup import NAMED, files_at
from remotefs.mount.progress import Count
from remotefs.mount.turns import Turns, several_at_once
from remotefs.store.disk import Disk
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.store.tree import Tree
from remotefs.vfs.handles import Handles

# Files fetched at one time; each may take several connections.
_TOGETHER = 4
# After this number of ids the other tasks of the mount get a turn.
_IDS_A_TURN = 500
_TOO_MUCH = "there is no room for all of it: make room on the disk, or set cache.evictable_bytes higher"


class PinCommands:
    """Brings content to this disk, keeps it, and lets it go again."""

    def __init__(
        self,
        tree: Tree,
        paths: InodePaths,
        content: ContentStore,
        promoter: Promoter,
        warmer: Warmer,
        sole: SoleFiles,
        releaser: Releaser,
    ) -> None:
        self._tree = tree
        self._paths = paths
        self._content = content
        self._promoter = promoter
        self._warmer = warmer
        self._sole = sole
        self._releaser = releaser

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [WARM.bind(self.warm), UNPIN.bind(self.unpin)]

    async def warm(self, params: WarmParams, report: Report) -> WarmResult:
        """Bring content to this disk, a few files at a time. Return how much, and why some files are not here."""
        await self._promoter.finish()
        files = await files_at(self._tree, params.path)
        reasons = await self._warmer.fetch(files, report)
        here = [file for file in files if file.ino not in reasons]
        if params.pin:
            for file in here:
                self._pin(file)
        failed = [
            Leftover(path=self._paths.shown(file), reason=reasons[file.ino]) for file in files if file.ino in reasons
        ]
        return WarmResult(
            files=len(here), bytes=sum(file.size for file in here),
            failed_count=len(failed), failed=tuple(failed[:NAMED]),
        )  # fmt: skip

    def _pin(self, file: Inode) -> None:
        if file.file_id is not None and self._content.has_all(file.file_id):
            self._content.pin(file.file_id)
            self._releaser.keep(file.ino, kept=True)

    async def unpin(self, params: UnpinParams, _: Report) -> UnpinResult:
        """Let content be evicted again. Return how many files, and the only copies that were left or unpinned."""
        await self._promoter.finish()
        files = await files_at(self._tree, params.path)
        pinned = {file.file_id: file for file in files if file.file_id and self._content.is_pinned(file.file_id)}
        sole = {file_id: file for file_id, file in pinned.items() if self._sole.is_sole(file_id)}
        going = pinned.keys() if params.sole_too else pinned.keys() - sole.keys()
        for file_id in going:
            self._releaser.keep(pinned[file_id].ino, kept=False)
            # An upload that the shared store has goes only after a look there.
            if not self._releaser.has_copy(file_id):
                self._content.unpin(file_id)
        return UnpinResult(files=len(going), sole=self._sole.summary(sole.values()))


class CacheCommands:
    """Shows and frees the room that content takes."""

    def __init__(
        self,
        tree: Tree,
        handles: Handles,
        content: ContentStore,
        promoter: Promoter,
        staging: Staging,
        disk: Disk,
        sole: SoleFiles,
        releaser: Releaser,
    ) -> None:
        self._tree = tree
        self._handles = handles
        self._content = content
        self._promoter = promoter
        self._staging = staging
        self._disk = disk
        self._sole = sole
        self._releaser = releaser

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [CACHE_INFO.bind(self.info), CACHE_TRIM.bind(self.trim), CACHE_CLEAR.bind(self.clear)]

    async def info(self, _: Nothing, __: Report) -> CacheInfo:
        """Return how much content is on this disk, and the files whose only copy that is."""
        await self._promoter.finish()
        await self._content.scan()
        second = await self._releaser.measure()
        statistics = self._content.statistics()
        return CacheInfo(
            pinned_files=statistics.pinned_files - second.files,
            pinned_bytes=statistics.pinned_bytes - second.bytes,
            evictable_files=statistics.evictable_files + second.files,
            evictable_bytes=statistics.evictable_bytes + second.bytes,
            shared_files=second.files,
            shared_bytes=second.bytes,
            limit_bytes=statistics.evictable_limit_bytes,
            staging_bytes=await trio.to_thread.run_sync(self._staging.used_bytes),
            free_bytes=self._disk.free(),
            reserve_bytes=self._disk.reserve,
            sole=self._sole.summary(await self._sole.all()),
        )

    async def trim(self, params: TrimParams, _: Report) -> Freed:
        """Evict content until at most the given bytes of it are left. Return the bytes that were freed."""
        await self._promoter.finish()
        await self._content.scan()
        return await self._trim(params.to_bytes)

    async def clear(self, params: ClearParams, _: Report) -> Freed:
        """Remove content. Return how much. Content of open files stays, so that their readers read on."""
        await self._promoter.finish()
        await self._content.scan()
        freed = await self._trim(0)
        files, size = freed.files, freed.bytes
        if params.pinned_too:
            going = {file_id: entry for file_id, entry in self._content.kept().items() if entry.pinned}
            for file_id, entry in going.items():
                if not any(self._handles.is_open(inode.ino) for inode in self._tree.holders(file_id)):
                    self._content.remove(file_id)
                    files, size = files + 1, size + entry.stored
        return Freed(files, size)

    async def _trim(self, to_bytes: int) -> Freed:
        """Evict cached content, then uploads that the shared store has, as far as it is within reach."""
        files, size = self._content.trim(to_bytes)
        excess = (await self._releaser.measure()).bytes + self._content.evictable_bytes - to_bytes
        if excess > 0:
            with suppress(ObjectStoreError):
                more = await self._releaser.free(excess)
                files, size = files + more.files, size + more.bytes
        return Freed(files, size)


class SoleFiles:
    """Finds the files whose only readable copy is on this disk, because nobody gives them back."""

    def __init__(self, store: Store, content: ContentStore, paths: InodePaths, releaser: Releaser) -> None:
        self._store = store
        self._content = content
        self._paths = paths
        self._releaser = releaser

    def is_sole(self, file_id: str) -> bool:
        """Return whether the service does not give the file back, nor the shared store."""
        remote = self._store.remotes.find(file_id)
        return remote is None or not (remote.downloadable or self._releaser.has_copy(file_id))

    async def all(self) -> list[Inode]:
        """Return all such files whose content is here; lets other tasks run in between."""
        found: list[Inode] = []
        turns = Turns(_IDS_A_TURN)
        for file_id, entry in self._content.kept().items():
            if entry.pinned and self.is_sole(file_id):
                found += self._store.tree.holders(file_id)[:1]
            await turns.step()
        return found

    def summary(self, files: Iterable[Inode]) -> SoleCopies:
        """Return how many files these are, of how many bytes, and the paths of the first."""
        found = list(files)
        return SoleCopies(
            files=len(found),
            bytes=sum(file.size for file in found),
            paths=tuple(self._paths.shown(file) for file in found[:NAMED]),
        )


class Warmer:
    """Fetches the content of files, a few at a time."""

    def __init__(self, tree: Tree, locator: Locator, reader: FileReader, downloader: Downloader) -> None:
        self._tree = tree
        self._locator = locator
        self._reader = reader
        self._downloader = downloader

    async def fetch(self, files: list[Inode], report: Report) -> dict[int, str]:
        """Fetch what is not here; return by inode why a file still is not. Reports each file that is done."""
        missing = [file for file in files if not self._locator.is_here(file)]
        size, size_missing = (sum(file.size for file in some) for some in (files, missing))
        progress = Count(size, len(files), report, size_done=size - size_missing, files_done=len(files) - len(missing))
        progress.underway()
        reasons: dict[int, str] = {}

        async def fetch(file: Inode) -> None:
            if (reason := await self._fetch(file)) is not None:
                reasons[file.ino] = reason
            progress.done(file.size)

        await several_at_once(missing, fetch, _TOGETHER)
        # What came may have been evicted again by what came after it.
        return reasons | {file.ino: _TOO_MUCH for file in files if not self._is_here(file, reasons)}

    def _is_here(self, file: Inode, reasons: dict[int, str]) -> bool:
        inode = self._tree.find(file.ino)
        return file.ino in reasons or inode is None or self._locator.is_here(inode)

    async def _fetch(self, file: Inode) -> str | None:
        """Fetch a file; return why that cannot be, if it cannot."""
        try:
            self._reader.check_readable(file)
            assert file.file_id is not None
            await self._downloader.fetch_all(file.file_id, file.size, priority=Priority.PREFETCH)
        except OutOfSpace:
            return _TOO_MUCH
        except RemotefsError as error:
            return str(error)
        return None
