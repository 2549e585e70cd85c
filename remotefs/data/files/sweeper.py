"""Removing bytes that were given up: content of freed ids, and staged files that no row names.

`Garbage` collects them inside the transactions that give them up. They are removed later, because a power cut
could bring back a row whose transaction is not on the disk yet, and that row would ask for its bytes.
"""

from __future__ import annotations

from remotefs.data.content.store import ContentStore
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage, is_referred
from remotefs.store.store import Store


class Sweeper:
    """Removes bytes that nothing here needs any more."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        freezer: Freezer,
        in_flight: UploadsInFlight,
        usage: Usage,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._freezer = freezer
        self._in_flight = in_flight
        self._usage = usage

    def discard(self, ino: int, generation: int) -> None:
        """Give up the staged bytes of a removed file; the next sweep removes them."""
        self._in_flight.cancel(ino)
        self._freezer.calm(ino)
        self._garbage.drop_staged(ino, generation)

    async def sweep(self) -> None:
        """Remove the bytes that were given up, once a power cut cannot bring back the rows that named them.

        Raises OutOfSpace, StateUnusable: the next sweep tries again.
        """
        file_ids, staged = self._garbage.take()
        try:
            await self._db.durable()
        except BaseException:
            self._garbage.give_back(file_ids, staged)
            raise
        # During the wait a path may have come to refer to an id again, and a row to another staged file.
        for file_id in file_ids:
            if not is_referred(file_id, self._tree, self._usage):
                self._content.remove(file_id)
        for ino, generation in staged:
            inode = self._tree.find(ino)
            if inode is None or inode.nlink == 0 or inode.staged_gen != generation:
                self._staging.discard(ino, generation)
