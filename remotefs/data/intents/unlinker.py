"""Names that go away: the file that had one stays, is replaced, or lets go of its bytes and its id (S5, W5, W9)."""

from __future__ import annotations

from remotefs.data.intents.freed_ids import FreedIds
from remotefs.data.intents.garbage import Garbage, Labelling
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.kernel import Usage
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup


class Unlinker:
    """Plans what follows from an unlink, from a rename over a file, and from the last close of an unlinked file."""

    def __init__(
        self,
        store: Store,
        planner: IntentPlanner,
        freed_ids: FreedIds,
        garbage: Garbage,
        labels: Labelling,
        usage: Usage,
        in_flight: UploadsInFlight,
        wakeup: Wakeup,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._planner = planner
        self._freed_ids = freed_ids
        self._garbage = garbage
        self._labels = labels
        self._usage = usage
        self._in_flight = in_flight
        self._wakeup = wakeup

    def replaced(self, old: Inode, ino: int) -> None:
        """Plan the removal of `old`, of which `ino` took a name: its id goes once `ino` is confirmed."""
        if old.nlink == 0 and old.is_file:
            old = self._tree.update(old.ino, replaced_by=ino)
        self.unlinked(old)

    def unlinked(self, inode: Inode, *, path: str | None = None) -> None:
        """Plan what follows from taking a name, at `path`, from the inode."""
        if inode.nlink > 0:
            self._planner.schedule(inode)
            return
        with self._db.transaction():
            # Nothing will name it again: an upload of which the last byte has not gone out is cut (W9).
            self._labels.void(inode)
            self._in_flight.cancel(inode.ino)
            if not self._usage.is_open(inode.ino):
                self.release(inode, path=path)
            elif (intent := self._journal.of_inode(inode.ino)) is not None and intent.attempt is None:
                self._journal.remove(intent.seq)
                self._freed_ids.free(intent.replaces, replaced_by=inode.replaced_by, path=path)

    def release(self, inode: Inode, *, path: str | None = None) -> None:
        """Free the bytes and the id of an inode that has no name and that nobody has open (S5)."""
        with self._db.transaction():
            intent = self._journal.of_inode(inode.ino)
            if intent is not None and intent.attempt is not None:
                # Its reply is awaited first, because the id in it has to go too (W9).
                return
            freed = self._id_of(inode)
            if intent is not None:
                freed += intent.replaces
                self._journal.remove(intent.seq)
            if inode.staged_gen is not None:
                self._garbage.drop_staged(inode.ino, inode.staged_gen)
            inode = self._tree.update(inode.ino, file_id=None, staged_gen=None)
            self._freed_ids.free(freed, replaced_by=inode.replaced_by, path=path)
            if not self._usage.is_known(inode.ino):
                self._tree.forget(inode.ino)
        self._wakeup.set()

    def _id_of(self, inode: Inode) -> list[str]:
        """Return the id that goes with the inode.

        An id that the refresh took out of the tree stays: the user has not removed it.
        """
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        if inode.file_id is not None and (remote is None or remote.ino != inode.ino):
            self._garbage.drop_content(inode.file_id)
            return []
        return [inode.file_id] if inode.file_id else []
