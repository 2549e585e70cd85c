"""`remotefs check --shared`: reads objects of the shared store back, and puts again those that are lost or damaged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import trio

from remotefs.check.findings import Finding, Kind
from remotefs.control.messages.base import Report
from remotefs.errors import (
    CorruptionError,
    ObjectMissing,
    ObjectStoreError,
    ObjectStoreUnreachable,
    RemotefsError,
    ReplyBroken,
    TransportError,
    UsageError,
)
from remotefs.mount.assembly import Components
from remotefs.mount.commands.lookup import files_at
from remotefs.mount.progress import Count
from remotefs.mount.turns import Turns, several_at_once
from remotefs.store.records import ContentState, Inode, Remote

# Few, because nobody waits for them, and readers do.
_TOGETHER = 4
# A store that does not answer is asked again so many times for one object, after a pause.
_TRIES, _PAUSE_S = 4, 5.0
_A_TURN = 200


class SharedScope(NamedTuple):
    """The files to look at: those at or below `path` that this machine has put there, with `every` of all machines."""

    path: str = ""
    every: bool = False


class SharedCheck:
    """One run. `left` has what is wrong, `repaired` what was put right."""

    def __init__(self, parts: Components, report: Report) -> None:
        self._parts = parts
        self._shares = parts.store.shares
        self._report = report
        self.left: list[Finding] = []
        self.repaired: list[Finding] = []
        # Why no more objects are read.
        self._trouble: RemotefsError | None = None

    async def look(self, scope: SharedScope) -> None:
        """Read the objects back. Raises NotFound, ObjectStoreError; UsageError where there is no store."""
        if not self._parts.shared.is_configured:
            raise UsageError("there is no shared store to look at: set `shared.store`, and mount again")
        found = await self._files(scope)
        progress = Count(sum(remote.size for _, remote in found), len(found), self._report)

        async def look(file: tuple[Inode, Remote]) -> None:
            if self._trouble is None:
                await self._look_at(*file)
                progress.done(file[1].size)

        await several_at_once(found, look, _TOGETHER)
        if self._trouble is not None:
            raise self._trouble
        self.left.sort()

    async def repair(self) -> None:
        """Put the objects again whose bytes are on this disk, and wait for that as long as the store is in reach."""
        here = {finding.file_id for finding in self.left if self._is_here(finding)}
        of_others = {file_id for file_id in here if self._shares.find(file_id) is None}
        turns = Turns(_A_TURN)
        for finding in self.left:
            if finding.file_id in here:
                self._shares.add_again(finding.file_id)
            elif finding.kind is Kind.OBJECT_MISSING:
                # The row would say for ever that the store has it.
                self._shares.drop(finding.file_id)
            await turns.step()
        self._parts.waiters.notify()
        await self._until_put(here)
        stored = {file_id for file_id in here if self._shares.is_stored(file_id)}
        for file_id in stored & of_others:
            # Whoever uploaded it answers for it; no row of this machine says that the store has it.
            self._shares.drop(file_id)
        self.repaired = [finding for finding in self.left if finding.file_id in stored]
        self.left = [finding for finding in self.left if finding.file_id not in stored]

    async def _files(self, scope: SharedScope) -> list[tuple[Inode, Remote]]:
        """Return the files whose objects are to be read, each with its remote file; one inode of several is enough."""
        found: dict[str, tuple[Inode, Remote]] = {}
        turns = Turns(_A_TURN)
        for inode in await files_at(self._parts.tree, scope.path):
            remote = self._parts.remotes.find(inode.file_id) if inode.file_id else None
            if remote is not None and self._is_wanted(remote, every=scope.every):
                found[remote.file_id] = (inode, remote)
            await turns.step()
        return list(found.values())

    def _is_wanted(self, remote: Remote, *, every: bool) -> bool:
        if self._shares.find(remote.file_id) is not None or not every:
            return self._shares.is_stored(remote.file_id)
        return remote.size > 0 and not remote.downloadable and not remote.tombstoned

    async def _look_at(self, inode: Inode, remote: Remote) -> None:
        try:
            await self._read_back(remote)
        except ObjectMissing:
            self._found(Kind.OBJECT_MISSING, inode, remote, "the shared store does not have its bytes")
        except CorruptionError as error:
            self._found(Kind.OBJECT_DAMAGED, inode, remote, str(error))
        except (ObjectStoreError, TransportError) as error:
            self._trouble = error

    async def _read_back(self, remote: Remote) -> None:
        """Read an object back, again when the way may be to blame. Raises as `SharedSource.read_back`."""
        for _ in range(_TRIES - 1):
            try:
                return await self._parts.shared_source.read_back(remote)
            except ObjectStoreUnreachable:
                await trio.sleep(_PAUSE_S)
            except ReplyBroken:
                continue
        return await self._parts.shared_source.read_back(remote)

    def _found(self, kind: Kind, inode: Inode, remote: Remote, what: str) -> None:
        """Note what is wrong, unless the file was replaced or removed while its object was read."""
        if self._parts.remotes.find(remote.file_id) is not None:
            path = self._parts.intents.paths.shown(inode)
            self.left.append(Finding(kind, path, what, inode.ino, remote.file_id))

    def _is_here(self, finding: Finding) -> bool:
        holders = self._parts.tree.holders(finding.file_id)
        return any(inode.state == ContentState.CLEAN and self._parts.locator.is_here(inode) for inode in holders)

    async def _until_put(self, file_ids: Iterable[str]) -> None:
        for file_id in file_ids:
            while self._parts.shared.is_awaited(file_id):
                await self._parts.waiters.progress()
