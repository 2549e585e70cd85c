"""The task that lets the files beneath renamed folders follow, a few at a time (W7, H8)."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from remotefs.data.intents.renamed_folders import RenamedFolders
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.store import Store


class RenameFollower:
    """Follows renames in their order; wakes the dispatcher and who waits for intents after each."""

    def __init__(self, store: Store, folders: RenamedFolders, waiters: Waiters) -> None:
        self._db = store.database
        self._renames = store.renames
        self._folders = folders
        self._waiters = waiters

    async def run(self) -> None:
        """Follow until cancelled; a mount begins with what the one before it left."""
        while True:
            while (renamed := self._renames.first()) is not None:
                await self._in_steps(self._folders.follow(renamed))
            await self._in_steps(self._folders.try_again())
            await self._folders.added.wait(self._folders.next_try_s())

    async def _in_steps(self, steps: Iterator[None]) -> None:
        began_s = trio.current_time()
        for _ in steps:
            # As long as the step took: threads whose results others wait for need the interpreter too (H8).
            await trio.sleep(trio.current_time() - began_s)
            await self._db.between_batches()
            began_s = trio.current_time()
        self._waiters.notify()
