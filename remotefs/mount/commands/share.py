"""`remotefs share`: what was uploaded before there was a shared store goes there too."""

from __future__ import annotations

import trio

from remotefs.control.messages.base import Command, Leftover, Report
from remotefs.control.messages.share import SHARE, ShareParams, ShareResult
from remotefs.data.files.reader import FileReader
from remotefs.data.share.contents import SharedContents
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.waiters import Waiters
from remotefs.mount.commands.lookup import NAMED, files_at
from remotefs.mount.commands.pending import PendingReasons
from remotefs.mount.progress import Count
from remotefs.mount.turns import Turns
from remotefs.store.records import ContentState, Inode, Remote, ShareState
from remotefs.store.store import Store

# So many rows are made in one transaction, and then the other tasks get a turn.
_ROWS_A_TURN = 200


class ShareCommands:
    """Puts files into the shared store that were uploaded from here without it."""

    def __init__(
        self,
        store: Store,
        reader: FileReader,
        contents: SharedContents,
        waiters: Waiters,
        promoter: Promoter,
        reasons: PendingReasons,
        changing: trio.Lock,
    ) -> None:
        """`changing` is held while rows are made: no `unshare` deletes what they put."""
        self._db = store.database
        self._tree = store.tree
        self._remotes = store.remotes
        self._shares = store.shares
        self._reader = reader
        self._contents = contents
        self._waiters = waiters
        self._promoter = promoter
        self._reasons = reasons
        self._changing = changing

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [SHARE.bind(self.share)]

    async def share(self, params: ShareParams, report: Report) -> ShareResult:
        """Put files into the store; a caller that hangs up leaves rows that the mount goes on with.

        Return what went there, and what did not. Raises UsageError where there is no store.
        """
        self._contents.check_configured()
        await self._promoter.finish()
        files = [file for file in await files_at(self._tree, params.path) if self._is_unshared(file)]
        async with self._changing:
            await self._add(files)
        await self._until_put(files, report)
        left = self._reasons.unshared_of(file.ino for file in files)
        lacking = [
            Leftover(path=self._reasons.shown(file), reason=_NOT_HERE) for file in files if not self._is_row(file)
        ]
        stored = [file for file in files if file.file_id and self._shares.is_stored(file.file_id)]
        return ShareResult(
            files=len(stored), bytes=sum(file.size for file in stored),
            failed_count=len(left) + len(lacking), failed=tuple([*left, *lacking][:NAMED]),
        )  # fmt: skip

    def _is_unshared(self, file: Inode) -> bool:
        remote = self._remotes.find(file.file_id) if file.file_id and file.state == ContentState.CLEAN else None
        return remote is not None and _is_sole(remote) and not self._contents.is_known(remote.file_id)

    def _is_row(self, file: Inode) -> bool:
        share = self._shares.find(file.file_id) if file.file_id is not None else None
        return share is not None and share.state != ShareState.WITHHELD

    async def _add(self, files: list[Inode]) -> None:
        turns = Turns(1)
        for first in range(0, len(files), _ROWS_A_TURN):
            with self._db.transaction():
                for file in files[first : first + _ROWS_A_TURN]:
                    if file.file_id is not None and self._reader.is_here(file) and not self._is_row(file):
                        self._shares.add_again(file.file_id)
            await turns.step()
        self._shares.hurry()
        self._waiters.notify()

    async def _until_put(self, files: list[Inode], report: Report) -> None:
        waiting = [file for file in files if self._is_row(file)]
        progress = Count(sum(file.size for file in waiting), len(waiting), report)
        for file in waiting:
            assert file.file_id is not None
            while self._contents.is_awaited(file.file_id):
                progress.underway()
                await self._waiters.progress()
            progress.done(file.size)


_NOT_HERE = "its bytes are not on this disk: share it where it was uploaded"


def _is_sole(remote: Remote) -> bool:
    """Return whether the service does not give the bytes of a file back."""
    return not remote.downloadable and remote.size > 0
