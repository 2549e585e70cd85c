"""Sums of closed files that wait long for their upload, made in the background (R3).

An upload that goes out at once makes the sums itself. Where the service is out of reach, or the budget's turn comes
late, the bytes may lie on this disk for days: a look every 30 s gives sums to each closed file that was there at the
look before. Nothing waits for that. One thread reads one file at a time and rests as long as it read.
"""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from remotefs.data.content.chunks import Sums
from remotefs.data.content.file import hash_file
from remotefs.data.files.staged_sums import Version
from remotefs.data.files.staging import Staging
from remotefs.errors import CorruptionError, RemotefsError
from remotefs.store.records import ContentState, Inode
from remotefs.store.tree import Tree

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 30.0
# Rows that are read before other tasks may run.
_PAGE = 500


class Summing:
    """Gives sums to closed files that wait, and removes the sums that nothing needs any more."""

    def __init__(self, tree: Tree, staging: Staging) -> None:
        self._tree = tree
        self._staging = staging
        self._sums = staging.sums
        # The closed versions that the last look found.
        self._waiting: set[Version] = set()

    async def run(self) -> None:
        """Look every 30 s until cancelled."""
        while True:
            await trio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Sum up what was closed at the last look and still is."""
        staged, waiting = await self._versions()
        # A version that is newer than the page it would be on loses its sums, and gets them again at a later look.
        self._sums.prune(staged)
        before, self._waiting = self._waiting, waiting
        for version in sorted(self._waiting & before):
            if not self._sums.is_kept(*version):
                await self._sum_up(version)

    async def _versions(self) -> tuple[set[Version], set[Version]]:
        """Return the versions that are staged, and those of them that are closed; others run between the pages."""
        staged: set[Version] = set()
        waiting: set[Version] = set()
        after = 0
        while page := self._tree.staged_after(after, _PAGE):
            after = page[-1].ino
            staged |= {(inode.ino, inode.content_gen) for inode in page}
            waiting |= {(inode.ino, inode.content_gen) for inode in page if inode.state == ContentState.CLOSED}
            await trio.lowlevel.checkpoint()
        return staged, waiting

    async def _sum_up(self, version: Version) -> None:
        inode = self._find(version)
        if inode is None or self._sums.is_damaged(inode):
            return
        began = trio.current_time()
        try:
            sums = self._sums.find(*version) or await self._read(inode)
            # A version that was written over meanwhile has no sums; nothing was written if its row is still there.
            if self._find(version) is not None:
                await self._sums.keep(*version, sums)
        except FileNotFoundError:
            if self._find(version) is not None:
                _log.error("inode %d: %s", inode.ino, self._sums.note_missing(inode, self._place(inode)))
        except CorruptionError:
            if self._find(version) is not None:
                _log.error("inode %d: its staged bytes are not as many as were written", inode.ino)
                self._sums.note_damage(*version)
        except (RemotefsError, OSError) as error:
            _log.warning("inode %d gets no sums yet: %s", inode.ino, error)
        await trio.sleep(trio.current_time() - began)

    async def _read(self, inode: Inode) -> Sums:
        return await trio.to_thread.run_sync(hash_file, self._place(inode), self._sums.layout(inode.size))

    def _place(self, inode: Inode) -> Path:
        assert inode.staged_gen is not None
        return self._staging.place(inode.ino, inode.staged_gen)

    def _find(self, version: Version) -> Inode | None:
        """Return the closed file of a version; None if it is another version by now."""
        inode = self._tree.find(version[0])
        if inode is None or inode.state != ContentState.CLOSED or inode.staged_gen is None:
            return None
        if inode.nlink == 0:
            # Its bytes may go before its row, which waits for the reply to its upload (W9).
            return None
        return inode if inode.content_gen == version[1] else None
