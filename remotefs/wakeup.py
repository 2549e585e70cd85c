"""A wakeup: any task that has made work sets it; the one task that does the work waits at it."""

from __future__ import annotations

import math

import trio


class Wakeup:
    """Remembers that it was set until its one waiter has seen it; two calls before a wait count as one."""

    def __init__(self) -> None:
        self._event = trio.Event()

    @property
    def is_set(self) -> bool:
        """Return whether it was set since the last wait."""
        return self._event.is_set()

    def set(self) -> None:
        """Wake the waiter, or let its next wait return at once."""
        self._event.set()

    def clear(self) -> None:
        """Forget that it was set: the waiter has seen it."""
        self._event = trio.Event()

    async def wait(self, timeout_s: float = math.inf) -> None:
        """Return once it was set since the last wait, or after `timeout_s` seconds; clear it."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        self.clear()
