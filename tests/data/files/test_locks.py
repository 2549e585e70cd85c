"""One lock an inode, and none left behind."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from remotefs.data.files.locks import InodeLocks


async def test_one_inode_one_holder_in_order(autojump_clock: trio.testing.MockClock) -> None:
    locks, order = InodeLocks(), []

    async def work(number: int) -> None:
        await trio.sleep(number)
        async with locks.hold(7):
            order.append(f"in {number}")
            await trio.sleep(10)
            order.append(f"out {number}")

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(work, number)
    assert order == ["in 0", "out 0", "in 1", "out 1", "in 2", "out 2"]


async def test_other_inodes_are_not_held_up() -> None:
    locks = InodeLocks()
    async with locks.hold(1):
        with trio.fail_after(5):
            async with locks.hold(2):
                pass


async def test_a_failure_gives_it_back(autojump_clock: trio.testing.MockClock) -> None:
    locks, order = InodeLocks(), []

    async def next_in_line() -> None:
        async with locks.hold(7):
            order.append("the next")

    async with trio.open_nursery() as nursery:
        with pytest.raises(ValueError, match="x"):
            async with locks.hold(7):
                # While somebody waits, the lock lives on: one that is not given back keeps him for ever.
                nursery.start_soon(next_in_line)
                await trio.sleep(1)
                order.append("the failure")
                raise ValueError("x")
        with trio.move_on_after(5):
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert order == ["the failure", "the next"]


async def test_who_is_cancelled_while_waiting_gets_nothing(autojump_clock: trio.testing.MockClock) -> None:
    locks = InodeLocks()

    async def impatient() -> None:
        with trio.move_on_after(1) as scope:
            async with locks.hold(7):
                raise AssertionError("two holders")
        assert scope.cancelled_caught

    async with locks.hold(7), trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
    with trio.fail_after(5):
        async with locks.hold(7):
            pass


async def test_locks_that_nobody_holds_are_forgotten() -> None:
    locks = InodeLocks()
    before = _living_locks()
    for ino in range(100):
        async with locks.hold(ino):
            pass
    assert _living_locks() - before <= 1


def _living_locks() -> int:
    gc.collect()
    return sum(isinstance(thing, trio.Lock) for thing in gc.get_objects())
