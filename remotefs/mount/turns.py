"""Work on many things: one after the other with turns for the other tasks in between (H8), or several at one time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import trio

T = TypeVar("T")


class Turns:
    """Counts the steps of a loop; the other tasks of a mount get a turn after each `every` of them."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._steps = 0

    async def step(self) -> None:
        """Count a step that is done."""
        self._steps += 1
        if self._steps % self._every == 0:
            await trio.lowlevel.checkpoint()


async def several_at_once(items: Iterable[T], act: Callable[[T], Awaitable[None]], most: int) -> None:
    """Act on all items, at most `most` at one time, and begin with them in their order."""
    limit = trio.CapacityLimiter(most)

    async def acted(item: T, place: object) -> None:
        try:
            await act(item)
        finally:
            limit.release_on_behalf_of(place)

    async with trio.open_nursery() as nursery:
        for item in items:
            place = object()
            await limit.acquire_on_behalf_of(place)
            nursery.start_soon(acted, item, place)
