"""The commands about content on this disk: warm, pin, unpin, cache info, trim and clear."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from remotefs.api.budget import Priority
from remotefs.control.messages.base import Command, Leftover, Nothing, Report, Warming
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
from remotefs.errors import OutOfSpace, RemotefsError
from remotefs.mount.assembly import Components
from remotefs.mount.commands.status import NAMED
from remotefs.mount.commands.trash import files_at
from remotefs.store.records import Inode

# Files fetched at one time; each may take several connections.
_TOGETHER = 4
# So many ids are looked at before others get their turn.
_LOOKS = 500


class Caching:
    """One method a command; what was confirmed a moment ago is content for them, too."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts

    def all(self) -> list[Command]:
        """Each command with its endpoint."""
        return [
            WARM.bind(self.warm),
            UNPIN.bind(self.unpin),
            CACHE_INFO.bind(self.info),
            CACHE_TRIM.bind(self.trim),
            CACHE_CLEAR.bind(self.clear),
        ]

    # -- in

    async def warm(self, params: WarmParams, report: Report) -> WarmResult:
        """Bring content here, a few files at a time; what cannot be is named with its reason."""
        await self._parts.promoter.finish()
        files = await files_at(self._parts, params.path)
        warming = _Warming(self._parts, files, report)
        await warming.run()
        reasons = warming.reasons | {f.ino: _TOO_MUCH for f in files if not self._is_here(f, warming.reasons)}
        here = [file for file in files if file.ino not in reasons]
        if params.pin:
            for file in here:
                self._pin(file)
        failed = [Leftover(path=self._path(file), reason=reasons[file.ino]) for file in files if file.ino in reasons]
        return WarmResult(
            files=len(here), bytes=sum(file.size for file in here),
            failed_count=len(failed), failed=tuple(failed[:NAMED]),
        )  # fmt: skip

    def _is_here(self, file: Inode, reasons: dict[int, str]) -> bool:
        inode = self._parts.tree.find(file.ino)
        return file.ino in reasons or inode is None or self._parts.file_bytes.is_here(inode)

    def _pin(self, file: Inode) -> None:
        if file.file_id is not None and self._parts.content.has_all(file.file_id):
            self._parts.content.pin(file.file_id)

    # -- out

    async def unpin(self, params: UnpinParams, _: Report) -> UnpinResult:
        """Let content go when room is wanted."""
        await self._parts.promoter.finish()
        content = self._parts.content
        files = await files_at(self._parts, params.path)
        pinned = {file.file_id: file for file in files if file.file_id and content.is_pinned(file.file_id)}
        sole = {file_id: file for file_id, file in pinned.items() if self._is_sole(file_id)}
        going = pinned if params.sole_too else pinned.keys() - sole.keys()
        for file_id in going:
            content.unpin(file_id)
        return UnpinResult(files=len(going), sole=self._told(sole.values()))

    async def info(self, _: Nothing, __: Report) -> CacheInfo:
        """What is here, and what of it exists nowhere else."""
        parts = self._parts
        await parts.promoter.finish()
        await parts.content.scan()
        statistics = parts.content.statistics()
        return CacheInfo(
            pinned_files=statistics.pinned_files,
            pinned_bytes=statistics.pinned_bytes,
            evictable_files=statistics.evictable_files,
            evictable_bytes=statistics.evictable_bytes,
            limit_bytes=statistics.evictable_limit_bytes,
            staging_bytes=parts.staging.used_bytes(),
            free_bytes=parts.disk.free(),
            reserve_bytes=parts.disk.reserve,
            sole=self._told(await self._sole_files()),
        )

    async def trim(self, params: TrimParams, _: Report) -> Freed:
        """Evict down to so much."""
        await self._parts.content.scan()
        return Freed(*self._parts.content.trim(params.to_bytes))

    async def clear(self, params: ClearParams, _: Report) -> Freed:
        """Remove content; what is open stays, so that its readers read on."""
        await self._parts.promoter.finish()
        content = self._parts.content
        await content.scan()
        files, size = content.trim(0)
        if params.pinned_too:
            going = {file_id: entry for file_id, entry in content.kept().items() if entry.pinned}
            for file_id, entry in going.items():
                if not any(self._parts.handles.is_open(inode.ino) for inode in self._parts.tree.holders(file_id)):
                    content.remove(file_id)
                    files, size = files + 1, size + entry.stored
        return Freed(files, size)

    # -- only copies

    async def _sole_files(self) -> list[Inode]:
        found: list[Inode] = []
        for number, (file_id, entry) in enumerate(self._parts.content.kept().items()):
            if entry.pinned and self._is_sole(file_id):
                found += self._parts.tree.holders(file_id)[:1]
            if number % _LOOKS == 0:
                await trio.lowlevel.checkpoint()
        return found

    def _is_sole(self, file_id: str) -> bool:
        remote = self._parts.remotes.find(file_id)
        return remote is None or not remote.downloadable

    def _told(self, files: Iterable[Inode]) -> SoleCopies:
        found = list(files)
        return SoleCopies(
            files=len(found),
            bytes=sum(file.size for file in found),
            paths=tuple(self._path(file) for file in found[:NAMED]),
        )

    def _path(self, file: Inode) -> str:
        return self._parts.planner.path(file) or f"inode {file.ino}"


_TOO_MUCH = "there is no room for all of it: make room on the disk, or set cache.evictable_bytes higher"


class _Warming:
    """One run of `warm`. `reasons`: by inode, why a file is not here."""

    def __init__(self, parts: Components, files: list[Inode], report: Report) -> None:
        self.reasons: dict[int, str] = {}
        self._parts = parts
        self._report = report
        self._missing = [file for file in files if not parts.file_bytes.is_here(file)]
        self._files = len(files)
        self._bytes = sum(file.size for file in files)
        self._files_done = self._files - len(self._missing)
        self._bytes_done = self._bytes - sum(file.size for file in self._missing)

    async def run(self) -> None:
        """Return when everything is here or has failed."""
        limit = trio.CapacityLimiter(_TOGETHER)
        self._tell()
        async with trio.open_nursery() as nursery:
            for file in self._missing:
                await limit.acquire_on_behalf_of(file.ino)
                nursery.start_soon(self._fetch, file, limit)

    async def _fetch(self, file: Inode, limit: trio.CapacityLimiter) -> None:
        try:
            self._parts.file_bytes.check_readable(file)
            assert file.file_id is not None
            await self._parts.downloader.fetch_all(file.file_id, file.size, priority=Priority.PREFETCH)
        except OutOfSpace:
            self.reasons[file.ino] = _TOO_MUCH
        except RemotefsError as error:
            self.reasons[file.ino] = str(error)
        finally:
            limit.release_on_behalf_of(file.ino)
        self._files_done += 1
        self._bytes_done += file.size
        self._tell()

    def _tell(self) -> None:
        self._report(
            Warming(
                files_done=self._files_done, files=self._files, bytes_done=self._bytes_done, bytes=self._bytes,
            )
        )  # fmt: skip
