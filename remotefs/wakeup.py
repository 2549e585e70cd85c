"""A wakeup: whoever has made work rings it, the one task that does the work waits at it."""

from __future__ import annotations

import trio


class Wakeup:
    """Rings are not counted: one that came before the wait is enough."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """There is something to do."""
        self._event.set()

    async def wait(self, timeout_s: float) -> None:
        """Return once it has rung since the last wait, or after `timeout_s`."""
        with trio.move_on_after(timeout_s):
            await self._event.wait()
        self._event = trio.Event()
