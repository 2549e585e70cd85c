"""A broadcast: wakes every task that waits at the moment of the call."""

from __future__ import annotations

import trio


class Broadcast:
    """Wakes waiters and keeps nothing: a task that waits after a call waits for the next one.

    A waiter therefore checks its condition before each wait, without an await in between.
    """

    def __init__(self) -> None:
        self._event = trio.Event()

    def notify(self) -> None:
        """Wake every task that waits now."""
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Return at the next call of `notify`."""
        await self._event.wait()
