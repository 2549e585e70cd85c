"""A broadcast wakes all that wait, and nobody who comes later."""

from __future__ import annotations

import trio
import trio.testing

from remotefs.broadcast import Broadcast


async def test_all_that_wait_are_woken_and_who_comes_later_waits_for_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    broadcast, woken = Broadcast(), []

    async def wait(name: str, from_s: float) -> None:
        await trio.sleep(from_s)
        await broadcast.wait()
        woken.append((name, trio.current_time()))

    async with trio.open_nursery() as nursery:
        broadcast.notify()
        nursery.start_soon(wait, "first", 0)
        nursery.start_soon(wait, "second", 1)
        nursery.start_soon(wait, "late", 3)
        for _ in range(2):
            await trio.sleep(2)
            broadcast.notify()
    assert sorted(woken) == [("first", 2.0), ("late", 4.0), ("second", 2.0)]
