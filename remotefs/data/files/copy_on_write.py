"""How a file comes to have staged bytes to write into: a clone of its content, a new empty file, or those that it has.

A clone is made at the first write after the content was settled, by a download first where that is not here; after a
truncation to 0 nothing is copied. What a close left and the service has not got yet is written over in place; it is
frozen before, where the file keeps changing (W4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.staged_file import StagedFile
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.intents.planner import IntentPlanner
from remotefs.errors import AlreadyExists, DeadlineExceeded, NotReadable
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store


class CopyOnWrite:
    """Makes staged files. `check_readable` raises NotReadable for what is neither here nor downloadable (R2)."""

    def __init__(
        self,
        store: Store,
        planner: IntentPlanner,
        content: ContentStore,
        staging: Staging,
        downloader: Downloader,
        freezer: Freezer,
        in_flight: UploadsInFlight,
        check_readable: Callable[[Inode], None],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._planner = planner
        self._content = content
        self._staging = staging
        self._downloader = downloader
        self._freezer = freezer
        self._in_flight = in_flight
        self._check_readable = check_readable

    async def writable(self, inode: Inode, *, keep: int | None = None) -> StagedFile:
        """The staged file to write into, holding the first `keep` bytes of the content (None: all of them).

        Invariant: called with the inode's lock held. Raises as `copy` does.
        """
        keep = inode.size if keep is None else keep
        if keep == 0 and inode.staged_gen is not None and self._staged(inode).is_lost:
            # No sync can vouch for these bytes any more; for new ones in a new file it can (H7).
            return self._begin_anew(inode)
        if inode.state == ContentState.DIRTY:
            return self._staged(inode)
        if inode.staged_gen is not None:
            return await self._write_over(inode, keep)
        generation = ContentLifecycle.of(inode).staged_as()
        staged = await self.copy(inode, generation, keep)
        with self._discarding_at_failure(inode.ino, generation):
            inode = self._tree.get(inode.ino)
            self._save_dirty(inode, ContentLifecycle.of(inode).written())
        self._overtake(inode)
        return staged

    async def _write_over(self, inode: Inode, keep: int) -> StagedFile:
        """The staged file of a closed version, which is frozen before it changes if the file keeps changing."""
        if self.may_be_frozen(inode):
            if keep > 0:
                await self.freeze(inode)
                inode = self._tree.get(inode.ino)
            elif self._freezer.set_aside(inode):
                return self._begin_anew_beside_frozen(inode)
        self._save_dirty(inode, ContentLifecycle.of(inode).written())
        self._overtake(inode)
        return self._staged(inode)

    def _begin_anew_beside_frozen(self, inode: Inode) -> StagedFile:
        try:
            return self._begin_anew(inode)
        except BaseException:
            # The staged file goes on to be written to, and what was set aside is the same file.
            self._freezer.thaw(inode.ino)
            raise

    def _staged(self, inode: Inode) -> StagedFile:
        assert inode.staged_gen is not None
        return self._staging.open(inode.ino, inode.staged_gen)

    def _begin_anew(self, inode: Inode) -> StagedFile:
        """A new, empty staged file instead of the one that there is."""
        assert inode.staged_gen is not None
        life = ContentLifecycle.of(inode).restarted()
        staged = self._staging.create(inode.ino, life.staged_as())
        with self._discarding_at_failure(inode.ino, life.staged_as()), self._db.transaction():
            self._save_dirty(inode, life)
            self._planner.drop_staged(inode.ino, inode.staged_gen)
        self._overtake(inode)
        return staged

    def _save_dirty(self, before: Inode, life: ContentLifecycle) -> None:
        with self._db.transaction():
            self._tree.update(before.ino, **life._asdict())
            self._planner.dirtied(before.ino)

    def _overtake(self, before: Inode) -> None:
        """What was to be sent is about to change: its row says so."""
        cut = self._in_flight.overtake(before.ino)
        is_unsent = before.state == ContentState.CLOSED and before.size > 0
        if is_unsent and not self._in_flight.will_arrive(before.ino):
            self._freezer.overtaken(before.ino, cut=cut)

    @contextmanager
    def _discarding_at_failure(self, ino: int, generation: int) -> Iterator[None]:
        """Remove a staged file that was made for a row which could not be written."""
        try:
            yield
        except BaseException:
            self._staging.discard(ino, generation)
            raise

    async def copy(self, inode: Inode, generation: int, keep: int) -> StagedFile:
        """A new staged file with the first `keep` bytes of the content, which is fetched where it is not here.

        Raises NotReadable, OutOfSpace, StateUnusable, and what a download raises.
        """
        try:
            return await self._copy(inode, generation, keep)
        except AlreadyExists:
            # A write whose row could not be written left it: no row names it, and no number is given twice.
            self._staging.discard(inode.ino, generation)
            return await self._copy(inode, generation, keep)

    async def _copy(self, inode: Inode, generation: int, keep: int) -> StagedFile:
        if keep == 0:
            return self._staging.create(inode.ino, generation)
        self._check_readable(inode)
        assert inode.file_id is not None
        # What is damaged must not be copied, uploaded, and then be all that is left (R3).
        await self._content.verify(inode.file_id)
        source = self._content.path_of(inode.file_id)
        if source is None:
            try:
                await self._downloader.fetch_all(inode.file_id, inode.size)
            except DeadlineExceeded as error:
                raise type(error)(f"{self._planner.path(inode)}: {error}") from None
            source = self._content.path_of(inode.file_id)
            if source is None:
                raise NotReadable(f"inode {inode.ino}: its content cannot be kept on this disk to be written to")
        return await self._staging.clone(inode.ino, generation, source, keep)

    def may_be_frozen(self, inode: Inode | None) -> bool:
        """Whether what the last close left is to be frozen before it changes or is sent (W4)."""
        return inode is not None and not self._in_flight.will_arrive(inode.ino) and self._freezer.wants(inode)

    async def freeze(self, inode: Inode) -> None:
        """Freeze it, if there is room. Invariant: called with the inode's lock held."""
        # While it is copied it may be sent after all, or removed.
        await self._freezer.freeze(inode, lambda: self.may_be_frozen(self._tree.find(inode.ino)))
