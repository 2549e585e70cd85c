"""Where the bytes of an inode are: in staging, in the content store, or only at the service.

They are staged while they are written, pending, or confirmed but not promoted yet; else they lie in the content store
under the bound remote file's id, or are only at the service.
"""

from __future__ import annotations

from pathlib import Path

from remotefs.data.content.chunks import Sums
from remotefs.data.content.store import ContentStore
from remotefs.data.files.staged_file import StagedFile
from remotefs.data.files.staging import Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store


class UnrecordedPromotions:
    """Remembers promotions whose row could not be written, as on a full disk.

    Such a row still names a staged file that is content by now. Until the row can be written only this process knows;
    after a crash `Recovery` finds the staged file gone and puts the row right.
    """

    def __init__(self, store: Store, intents: Intents) -> None:
        self._db = store.database
        self._tree = store.tree
        self._garbage = intents.garbage
        # By inode: the generation that was staged, and the id whose content it became.
        self._promoted: dict[int, tuple[int | None, str | None]] = {}

    def covers(self, inode: Inode) -> bool:
        """Return whether the staged file that the row names has become content."""
        return self._promoted.get(inode.ino) == (inode.staged_gen, inode.file_id)

    def add(self, inode: Inode) -> None:
        """Note a promotion and record it. Raises as `record` does: then it stays noted."""
        self.note(inode)
        self.record(inode)

    def note(self, inode: Inode) -> None:
        """Note that the staged bytes of an inode have become content, which is not to be recorded yet."""
        self._promoted[inode.ino] = (inode.staged_gen, inode.file_id)

    def record(self, inode: Inode) -> None:
        """Write into the row that the staged bytes are content. Raises OutOfSpace, StateUnusable."""
        assert inode.staged_gen is not None
        with self._db.transaction():
            self._garbage.drop_staged(inode.ino, inode.staged_gen)
            promoted = ContentLifecycle.of(self._tree.get(inode.ino)).promoted()
            self._tree.update(inode.ino, **promoted._asdict())
        self._promoted.pop(inode.ino, None)


class Locator:
    """Finds the bytes of an inode on this machine, whether or not its row is up to date."""

    def __init__(self, store: Store, intents: Intents, content: ContentStore, staging: Staging) -> None:
        self._tree = store.tree
        self._remotes = store.remotes
        self._content = content
        self._staging = staging
        self._unrecorded = UnrecordedPromotions(store, intents)

    def is_staged(self, inode: Inode) -> bool:
        """Return whether the bytes lie in staging; False for promoted bytes, even if the row could not be written."""
        return inode.staged_gen is not None and not self._unrecorded.covers(inode)

    def staged(self, inode: Inode) -> StagedFile:
        """Return the staged file that the row names. Raises CorruptionError when it is missing, StateUnusable."""
        return self._staging.of(inode)

    def read_staged(self, inode: Inode, offset: int, size: int) -> bytes:
        """Return bytes of a staged file, checked if it is closed; call it with the inode's lock held.

        Raises CorruptionError, StateUnusable.
        """
        staged = self.staged(inode)
        if inode.state == ContentState.DIRTY:
            return staged.read(offset, size)
        return self._staging.sums.read(inode, staged, offset, size)

    def is_damaged(self, inode: Inode) -> bool:
        """Return whether the staged bytes of the inode are known to be damaged."""
        return self._staging.sums.is_damaged(inode)

    def bound(self, inode: Inode) -> Remote | None:
        """Return the remote file that the inode is bound to, None when there is none or the service lost it."""
        return self._remotes.find(inode.file_id) if inode.file_id else None

    def is_here(self, inode: Inode) -> bool:
        """Return whether all bytes of the inode are on this disk."""
        return inode.staged_gen is not None or inode.size == 0 or self.source_of(inode) is not None

    def source_of(self, inode: Inode) -> Path | None:
        """Return the local file with all bytes of the inode; None when it is empty or they are not on this disk."""
        if self.is_staged(inode):
            return self.staged(inode).path
        return self._content.path_of(inode.file_id) if inode.file_id else None

    def sums_of(self, inode: Inode) -> Sums | None:
        """Return the sums of all bytes of the inode with their digest, where they are on this disk and known."""
        if self.is_staged(inode):
            return self._staging.sums.find(inode.ino, inode.content_gen)
        return self._content.sums_of(inode.file_id) if inode.file_id else None

    def still_holds(self, before: Inode) -> bool:
        """Return whether an inode that was read before an await still has the same staged file and the same id."""
        inode = self._tree.find(before.ino)
        return inode is not None and (inode.staged_gen, inode.file_id) == (before.staged_gen, before.file_id)

    def moved(self, inode: Inode) -> None:
        """Note that the staged bytes are content by now, although a power cut may still undo that."""
        self._unrecorded.note(inode)

    def promoted(self, inode: Inode) -> None:
        """Record that the staged bytes are content. Raises OutOfSpace, StateUnusable: then only this process knows."""
        self._unrecorded.add(inode)

    def recorded(self, ino: int) -> Inode:
        """Return the inode, after its row was put right if it still names a promoted staged file.

        Raises NotFound, OutOfSpace, StateUnusable.
        """
        inode = self._tree.get(ino)
        if inode.staged_gen is not None and self._unrecorded.covers(inode):
            self._unrecorded.record(inode)
        return self._tree.get(ino)
