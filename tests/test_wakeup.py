"""A ring is never lost, and rings are not counted."""

from __future__ import annotations

import trio
import trio.testing

from remotefs.wakeup import Wakeup


async def test_a_ring_before_the_wait_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    bell = Wakeup()
    bell.set()
    bell.set()
    await bell.wait(100)
    assert trio.current_time() == 0
    await bell.wait(100)
    assert trio.current_time() == 100


async def test_set_ends_the_wait(autojump_clock: trio.testing.MockClock) -> None:
    bell = Wakeup()

    async def set_later() -> None:
        await trio.sleep(3)
        bell.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_later)
        await bell.wait(100)
        assert trio.current_time() == 3
