"""One lock for each inode, held to change its bytes: write, truncate, close, copy-on-write, promotion to content.

Lock order: inode locks by ascending number; inside one, only SQLite, staging and content, and a download for
copy-on-write. Nothing that waits for an upload holds one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import trio

from remotefs.waits import waiting_for


class InodeLocks:
    """Makes the lock of an inode when it is first needed, and drops it when no task holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, trio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, ino: int) -> AsyncIterator[None]:
        """Hold the lock of one inode while the block lasts."""
        lock = self._locks.get(ino)
        if lock is None:
            lock = self._locks[ino] = trio.Lock()
        try:
            lock.acquire_nowait()  # almost always free: then there is no turn of the event loop to pay
        except trio.WouldBlock:
            with waiting_for("lock"):
                await lock.acquire()
        try:
            yield
        finally:
            lock.release()
