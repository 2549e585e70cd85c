"""`remotefs unshare`: takes files out of the shared store, as long as their bytes are whole and pinned on this disk.

    verify the bytes here ─► a row on the disk says that nobody relies on the object ─► delete ─► the row is done

Nothing else is deleted (S1 to S5 are about the service; here, too, a delete is final). Only the machine that uploaded a
file takes it out: it might else rely on an object that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import trio

from remotefs.control.messages.base import Command, Leftover, Report
from remotefs.control.messages.share import UNSHARE, UnshareParams, UnshareResult
from remotefs.data.content.store import ContentStore
from remotefs.data.share.contents import SharedContents
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.sharer import Sharer
from remotefs.errors import CorruptionError, LocalError, ObjectStoreError
from remotefs.mount.commands.lookup import NAMED, files_at
from remotefs.mount.commands.pending import PendingReasons
from remotefs.mount.progress import Count
from remotefs.mount.turns import Turns, several_at_once
from remotefs.store.records import ContentState, Inode, Origin, Share, ShareState
from remotefs.store.store import Store

# A request deletes at most a thousand; between two batches a caller may hang up.
_BATCH = 500
# Files whose bytes are read at one time.
_TOGETHER = 2
_A_TURN = 200
_NOT_DONE = "its object may still be there"


class UnshareCommands:
    """Takes files out of the shared store."""

    def __init__(
        self,
        store: Store,
        content: ContentStore,
        contents: SharedContents,
        sharer: Sharer,
        promoter: Promoter,
        reasons: PendingReasons,
        changing: trio.Lock,
    ) -> None:
        """`changing` is held from the look at files to the end of their delete: `share` puts none meanwhile."""
        self._db = store.database
        self._tree = store.tree
        self._remotes = store.remotes
        self._shares = store.shares
        self._content = content
        self._contents = contents
        self._sharer = sharer
        self._promoter = promoter
        self._reasons = reasons
        self._changing = changing

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [UNSHARE.bind(self.unshare)]

    async def unshare(self, params: UnshareParams, report: Report) -> UnshareResult:
        """Take files out of the store. Return how many went, and what did not.

        Raises NotFound; UsageError where there is no store. A caller that hangs up ends it between two batches.
        """
        self._contents.check_configured()
        await self._promoter.finish()
        files, failed = await self._shared(params.path)
        done = list(files.values())
        if not params.dry_run:
            done = []
            progress = Count(sum(file.size for file in files.values()), len(files), report)
            rest = iter(files.items())
            while batch := dict(islice(rest, _BATCH)):
                async with self._changing:
                    done += await self._take_out(batch, failed, progress)
        return UnshareResult(
            files=len(done), bytes=sum(file.size for file in done),
            failed_count=len(failed), failed=self._leftovers(failed),
        )  # fmt: skip

    async def _shared(self, path: str) -> tuple[dict[str, Inode], dict[int, tuple[Inode, str]]]:
        """Return the files that can be taken out, by id, and those that cannot, with the reason, by inode."""
        found: dict[str, Inode] = {}
        failed: dict[int, tuple[Inode, str]] = {}
        turns = Turns(_A_TURN)
        for file in await files_at(self._tree, path):
            if (share := self._share_of(file)) is not None:
                reason = self._why_not(file, share)
                if reason is None:
                    found[share.file_id] = file
                else:
                    failed[file.ino] = (file, reason)
            await turns.step()
        return found, failed

    def _share_of(self, file: Inode) -> Share | None:
        """Return the row of a file whose bytes are in the store, or on the way there, or perhaps left there."""
        share = self._shares.find(file.file_id) if file.is_file and file.file_id else None
        is_out = share is not None and share.state == ShareState.WITHHELD and share.reason is None
        return None if is_out else share

    def _why_not(self, file: Inode, share: Share) -> str | None:
        """Return why a file stays in the store, None if it need not."""
        remote = self._remotes.find(share.file_id)
        if remote is None or remote.origin == Origin.FOREIGN:
            return "it was uploaded elsewhere: take it out on the machine that uploaded it"
        if file.state != ContentState.CLEAN:
            return "a newer version is on its way to the service: run `remotefs flush` first"
        if self._sharer.is_putting(share.file_id):
            return "its bytes are on their way into the store: try again"
        if not (self._content.has_all(share.file_id) and self._content.is_pinned(share.file_id)):
            return "its bytes are not kept on this disk: run `remotefs pin` on it first"
        return None

    async def _take_out(
        self, batch: dict[str, Inode], failed: dict[int, tuple[Inode, str]], progress: Count
    ) -> list[Inode]:
        """Take files out of the store; note in `failed` those that are not. Return the others."""

        async def verify(item: tuple[str, Inode]) -> None:
            file_id, file = item
            if (reason := await self._why_not_whole(file_id)) is not None:
                failed[file.ino] = (file, reason)
            progress.done(file.size)

        await several_at_once(batch.items(), verify, _TOGETHER)
        going = self._withhold({file_id: file for file_id, file in batch.items() if file.ino not in failed}, failed)
        if not going:
            return []
        try:
            # Invariant: no crash leaves a row that relies on an object that is gone.
            await self._db.durable()
            await self._contents.delete(list(going))
        except (ObjectStoreError, LocalError) as error:
            failed |= {file.ino: (file, f"{_NOT_DONE}: {error}") for file in going.values()}
            return []
        with self._db.transaction():
            for file_id in going:
                self._shares.withhold(file_id)
        return list(going.values())

    async def _why_not_whole(self, file_id: str) -> str | None:
        try:
            is_whole = await self._content.verify(file_id)
        except (CorruptionError, LocalError) as error:
            return str(error)
        return None if is_whole else "its bytes are not kept on this disk: run `remotefs pin` on it first"

    def _withhold(self, files: dict[str, Inode], failed: dict[int, tuple[Inode, str]]) -> dict[str, Inode]:
        """Let the rows of files say that their objects are not to be relied on; return those that are as before."""
        going: dict[str, Inode] = {}
        with self._db.transaction():
            for file_id, file in files.items():
                share, now = self._shares.find(file_id), self._tree.find(file.ino)
                if share is None or now is None or now.file_id != file_id:
                    continue  # removed or replaced meanwhile: a new version has a row of its own
                if (reason := self._why_not(now, share)) is not None:
                    failed[file.ino] = (file, reason)
                    continue
                self._shares.withhold(file_id, reason=_NOT_DONE)
                going[file_id] = file
        return going

    def _leftovers(self, failed: dict[int, tuple[Inode, str]]) -> tuple[Leftover, ...]:
        named: Sequence[tuple[Inode, str]] = list(failed.values())[:NAMED]
        return tuple(Leftover(path=self._reasons.shown(file), reason=reason) for file, reason in named)
