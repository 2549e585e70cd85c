"""Syncs are shared by those that come together, and a failed one is never called a success."""

from __future__ import annotations

import errno

import pytest
import trio

from remotefs.errors import StateUnusable
from remotefs.store.groupsync import GroupSync


class Disk:
    """Counts, takes a second each time, and fails when told."""

    def __init__(self) -> None:
        self.syncs = 0
        self.is_broken = False

    async def sync(self) -> None:
        self.syncs += 1
        await trio.sleep(1)
        if self.is_broken:
            raise OSError(errno.EIO, "broken")


def refused(error: OSError) -> StateUnusable:
    return StateUnusable(str(error))


async def test_those_that_come_together_share_a_sync(autojump_clock: trio.abc.Clock) -> None:
    disk = Disk()
    group = GroupSync(disk.sync, refused)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            group.changed()
            nursery.start_soon(group.wait)
    assert disk.syncs == 1
    await group.wait()
    assert disk.syncs == 1, "nothing was changed since"


async def test_what_is_changed_during_a_sync_has_one_of_its_own(autojump_clock: trio.abc.Clock) -> None:
    disk = Disk()
    group = GroupSync(disk.sync, refused)
    began, first = trio.current_time(), group.changed()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(group.wait)
        await trio.sleep(0.5)
        second = group.changed()
        nursery.start_soon(group.wait, second)
        await group.wait(first)
        assert trio.current_time() - began == pytest.approx(1), "the first does not wait for the second"
    assert disk.syncs == 2


async def test_after_a_failure_it_fails_for_ever(autojump_clock: trio.abc.Clock) -> None:
    disk = Disk()
    group = GroupSync(disk.sync, refused)
    group.changed()
    await group.wait()
    kept, disk.is_broken = group.changed(), True
    for _ in range(2):
        with pytest.raises(StateUnusable):
            await group.wait()
    disk.is_broken = False
    with pytest.raises(StateUnusable):
        await group.wait(kept)
    await group.wait(kept - 1)


async def test_one_who_gives_up_waiting_does_not_hold_up_the_others(autojump_clock: trio.abc.Clock) -> None:
    disk = Disk()
    group = GroupSync(disk.sync, refused)
    group.changed()
    with trio.move_on_after(0.5):
        await group.wait()
    await group.wait()
    assert disk.syncs == 2
