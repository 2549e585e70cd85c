"""Making the state folder whole at the start: what a crash may have left between two steps (W3, W9).

Runs before the kernel asks for anything, so nothing is open and nothing is looked up.
"""

from __future__ import annotations

import logging
import time

from remotefs.data.changes import NEVER_NS, Changes
from remotefs.data.content import ContentStore
from remotefs.data.filedata import FileData
from remotefs.data.staging import Staging
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.records import ContentState, Inode
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree

_log = logging.getLogger(__name__)


class Recovery:
    """One run at the start of a mount."""

    def __init__(
        self,
        database: Database,
        tree: Tree,
        journal: Journal,
        remotes: Remotes,
        changes: Changes,
        content: ContentStore,
        staging: Staging,
        filedata: FileData,
    ) -> None:
        self._db = database
        self._tree = tree
        self._journal = journal
        self._remotes = remotes
        self._changes = changes
        self._content = content
        self._staging = staging
        self._filedata = filedata

    async def run(self) -> None:
        """Bring rows, staged files and intents in line."""
        self._release_unlinked()
        found = {(entry.inode, entry.generation): entry for entry in self._staging.scan()}
        for inode in self._tree.staged():
            assert inode.staged_gen is not None
            entry = found.pop((inode.ino, inode.staged_gen), None)
            if entry is None:
                self._staged_file_is_gone(inode)
            elif inode.state == ContentState.DIRTY:
                self._close_what_was_open(inode, entry.size, entry.mtime_ns)
        for ino, generation in found:
            self._staging.discard(ino, generation)
        self._wake_sleepers()
        for inode in self._tree.staged():
            await self._filedata.settle(inode.ino)
        self._sweep_content()

    def _release_unlinked(self) -> None:
        for inode in self._tree.unlinked():
            self._changes.release(inode, time.time_ns())

    def _close_what_was_open(self, inode: Inode, size: int, mtime_ns: int) -> None:
        """Written and never closed: it is uploaded as it is (W3)."""
        _log.warning("%s was being written when the mount ended: it is kept as it was", self._changes.path(inode))
        with self._db.transaction():
            self._tree.update(inode.ino, size=size, mtime_ns=mtime_ns)
            self._changes.closed(inode.ino, time.time_ns())

    def _staged_file_is_gone(self, inode: Inode) -> None:
        """The file has become content already, or it did not survive a power cut: it was never acknowledged then."""
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if inode.nlink == 0 or (inode.state == ContentState.CLEAN and remote is not None):
            # Unlinked, it is only kept until it is known what became of its upload (W9).
            self._tree.update(inode.ino, staged_gen=None)
            return
        _log.error("%s: what was last written to it is missing from the state folder", self._changes.path(inode))
        with self._db.transaction():
            size = remote.size if remote is not None else 0
            self._tree.update(inode.ino, staged_gen=None, state=ContentState.CLEAN, size=size)
            intent = self._journal.of_inode(inode.ino)
            if intent is not None:
                self._journal.remove(intent.seq)
                for file_id in intent.replaces:
                    # Nothing takes their place any more: they are the only copy, and are shown again.
                    self._remotes.spare(file_id)

    def _wake_sleepers(self) -> None:
        """Intents that slept while their file was open for writing: nobody has it open now."""
        with self._db.transaction():
            for intent in self._journal.pending():
                inode = self._tree.find(intent.ino) if intent.ino is not None and intent.file_id is None else None
                if intent.due_ns == NEVER_NS and inode is not None:
                    self._changes.schedule(inode, time.time_ns())

    def _sweep_content(self) -> None:
        """Content of ids that were given up before the crash."""
        for remote in self._remotes.doomed():
            self._content.remove(remote.file_id)
