"""Promotion: a staged file whose bytes the service has confirmed becomes the content file of the id that it got.

The bytes move by rename; nothing is copied. `Promoter` (data/writeback) decides when, this module decides whether.
"""

from __future__ import annotations

from remotefs.data.content.store import ContentStore
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.errors import CorruptionError, LocalError
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store


class Promotion:
    """Turns confirmed staged files into content."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        locks: InodeLocks,
        in_flight: UploadsInFlight,
        usage: Usage,
        locator: Locator,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._planner = intents.planner
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._locks = locks
        self._in_flight = in_flight
        self._usage = usage
        self._locator = locator

    async def promote_to_content(self, ino: int) -> None:
        """Turn the staged file of an inode into content, if it is confirmed and no write handle is open.

        Raises CorruptionError when the staged bytes are not those that were uploaded, OutOfSpace, StateUnusable.
        """
        if self._confirmed(ino) is None:
            return  # without waiting for the lock, which a write may hold for as long as a download takes
        async with self._locks.hold(ino):
            inode = self._confirmed(ino)
            remote = self._locator.bound(inode) if inode is not None else None
            if inode is None or inode.staged_gen is None or remote is None:
                return
            is_content = inode.size > 0 and self._content.has_all(remote.file_id)
            staged = self._locator.staged(inode) if inode.size and not is_content else None
            # Or a power cut would leave a row that still asks for the staged file.
            await self._db.durable()
            if staged is not None:
                try:
                    await staged.sync()
                    staged.close()
                    await self._content.adopt(
                        remote.file_id, staged.path, inode.size, pinned=not remote.downloadable, digest=remote.digest
                    )
                    if remote.downloadable:
                        self._content.keep_until_listed(remote.file_id)
                except CorruptionError:
                    self._staging.sums.note_damage(ino, inode.content_gen)
                    raise
                except LocalError:
                    if self._content.has_all(remote.file_id):
                        # They have moved, and only a sync failed: until the next try they are read where they are.
                        self._locator.moved(inode)
                    if self._locator.still_holds(inode):
                        raise
            if self._locator.still_holds(inode):
                self._locator.promoted(inode)
            else:
                # Unlinked meanwhile, which waits for no lock (A1): nobody else would free what came in just now.
                self._garbage.drop_content(remote.file_id)
            self._staging.discard(ino, inode.staged_gen)

    def _confirmed(self, ino: int) -> Inode | None:
        """Return the inode if the service has its staged bytes, and nothing is under way that may change that."""
        inode = self._tree.find(ino)
        if inode is None or inode.staged_gen is None or self._usage.is_open_for_write(ino) or ino in self._in_flight:
            return None
        # An attempt whose end is not known may still give it another id, and the content of this one would go.
        is_bound = inode.state == ContentState.CLEAN and not self._planner.may_be_rebound(ino)
        return inode if is_bound else None
