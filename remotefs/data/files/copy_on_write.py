"""Where the staged file comes from that a write goes to: a copy of the content, a new empty file, or the one there is.

The first write after a promotion clones the content, after a download where it is not on this disk; a truncation to 0
copies nothing. A closed version that the service has not got yet is written over in place; where the file keeps
changing it is frozen first (W4).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.staged_file import StagedFile
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.errors import AlreadyExists, CorruptionError, DeadlineExceeded, LocalError, NotReadable
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store


class Writable(NamedTuple):
    """A staged file to write into, and the row that says so. Both are of one length; only a write changes that."""

    inode: Inode
    file: StagedFile


class CopyOnWrite:
    """Provides the staged file for a write, and turns the row DIRTY.

    `check_readable` raises NotReadable for bytes that are neither on this disk nor can be downloaded (R2).
    """

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        downloader: Downloader,
        freezer: Freezer,
        in_flight: UploadsInFlight,
        check_readable: Callable[[Inode], None],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._paths = intents.paths
        self._planner = intents.planner
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._downloader = downloader
        self._freezer = freezer
        self._in_flight = in_flight
        self._check_readable = check_readable

    async def writable(self, inode: Inode, *, keep: int | None = None) -> Writable:
        """Return the staged file to write into, with at least the first `keep` bytes of the content (None: all).

        A new staged file has exactly those, and so has its row: what the caller does next may fail.

        Invariant: called with the inode's lock held. Raises as `copy` does.
        """
        keep = inode.size if keep is None else keep
        if keep == 0 and inode.staged_gen is not None and self._is_beyond_repair(inode):
            return self._restart(inode)
        if inode.state == ContentState.DIRTY:
            return Writable(inode, self._staged(inode))
        if inode.staged_gen is not None:
            return await self._write_over(inode, keep)
        generation = ContentLifecycle.of(inode).staged_as()
        staged = await self.copy(inode, generation, keep)
        with self._discarding_at_failure(inode.ino, generation):
            before = self._tree.get(inode.ino)
            after = self._save_dirty(before, ContentLifecycle.of(before).written(), size=keep)
        self._overtake(before)
        return Writable(after, staged)

    async def _write_over(self, inode: Inode, keep: int) -> Writable:
        """Return the staged file of a closed version, which is frozen before it changes if the file keeps changing."""
        if self._freezer.wants(inode):
            if keep > 0:
                await self._freezer.freeze(inode)
                inode = self._tree.get(inode.ino)
            elif self._freezer.set_aside(inode):
                return self._restart_beside_frozen(inode)
        if keep > 0:
            # Damaged bytes must not go up as part of an edit (R3).
            await self._staging.sums.check(inode, self._staged(inode).path)
            inode = self._tree.get(inode.ino)
        staged = self._staged(inode)
        after = self._save_dirty(inode, ContentLifecycle.of(inode).written(), size=inode.size)
        self._overtake(inode)
        return Writable(after, staged)

    def _is_beyond_repair(self, inode: Inode) -> bool:
        """Return whether new bytes need a new file.

        After a failed sync no later one can vouch for the bytes of the old one (H7). Damaged bytes may be just what
        somebody copies over their own file, and missing ones need none.
        """
        try:
            return self._staging.sums.is_damaged(inode) or self._staged(inode).is_lost
        except CorruptionError:  # it is missing
            return True

    def _restart_beside_frozen(self, inode: Inode) -> Writable:
        try:
            return self._restart(inode)
        except BaseException:
            # Writes go on in the staged file, and what was set aside is that very file.
            self._freezer.thaw(inode.ino)
            raise

    def _staged(self, inode: Inode) -> StagedFile:
        return self._staging.of(inode)

    def _restart(self, inode: Inode) -> Writable:
        """Give up the staged file; return a new, empty one."""
        assert inode.staged_gen is not None
        life = ContentLifecycle.of(inode).restarted()
        staged = self._created(inode.ino, life.staged_as())
        with self._discarding_at_failure(inode.ino, life.staged_as()), self._db.transaction():
            after = self._save_dirty(inode, life, size=0)
            self._garbage.drop_staged(inode.ino, inode.staged_gen)
        self._overtake(inode)
        return Writable(after, staged)

    def _save_dirty(self, before: Inode, life: ContentLifecycle, *, size: int) -> Inode:
        with self._db.transaction():
            after = self._tree.update(before.ino, size=size, **life._asdict())
            self._planner.dirtied(before.ino)
            return after

    def _overtake(self, before: Inode) -> None:
        """Cut the upload of a version that is about to change, and count it as overtaken. Its row says so already."""
        cut = self._in_flight.overtake(before.ino)
        is_unsent = before.state == ContentState.CLOSED and before.size > 0
        if is_unsent and not self._in_flight.will_arrive(before.ino):
            with suppress(LocalError):  # the row is saved, and the count is only a hint
                self._freezer.overtaken(before.ino, cut=cut)

    @contextmanager
    def _discarding_at_failure(self, ino: int, generation: int) -> Iterator[None]:
        """Remove a new staged file if the block, which writes its row, fails."""
        try:
            yield
        except BaseException:
            self._staging.discard(ino, generation)
            raise

    async def copy(self, inode: Inode, generation: int, keep: int) -> StagedFile:
        """Return a new staged file with the first `keep` bytes of the content, downloaded when it is not on this disk.

        Raises NotReadable, OutOfSpace, StateUnusable, and as a download does.
        """
        try:
            return await self._copy(inode, generation, keep)
        except AlreadyExists:
            # A write whose row could not be written left it: no row names it, and no number is given twice.
            self._staging.discard(inode.ino, generation)
            return await self._copy(inode, generation, keep)

    def _created(self, ino: int, generation: int) -> StagedFile:
        """Return a new staged file without bytes."""
        try:
            return self._staging.create(ino, generation)
        except AlreadyExists:  # left behind, as in `copy`
            self._staging.discard(ino, generation)
            return self._staging.create(ino, generation)

    async def _copy(self, inode: Inode, generation: int, keep: int) -> StagedFile:
        if keep == 0:
            return self._staging.create(inode.ino, generation)
        self._check_readable(inode)
        assert inode.file_id is not None
        # Damaged content must not be copied and uploaded: the damaged copy would be the only one left (R3).
        await self._content.verify(inode.file_id)
        source = self._content.path_of(inode.file_id)
        if source is None:
            try:
                await self._downloader.fetch_all(inode.file_id, inode.size)
            except DeadlineExceeded as error:
                raise type(error)(f"{self._paths.shown(inode)}: {error}") from None
            source = self._content.path_of(inode.file_id)
            if source is None:
                raise NotReadable(f"inode {inode.ino}: its content cannot be kept on this disk to be written to")
        return await self._staging.clone(inode.ino, generation, source, keep)
