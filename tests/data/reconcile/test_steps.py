"""H8: however many files there are, a listing holds up nobody for long: what it does at once has a bound.

The work of a step of the loop is counted in instructions of SQLite's machine, which does not depend on how fast the
machine is: some five for each row that is read.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trio

from remotefs.api.budget import Priority
from tests.faults import FaultyServer, Reply
from tests.parts import Host, listed
from tests.sampling import sample
from tests.upkeep.support import machine

Server, Clock = FaultyServer, trio.abc.Clock
FOLDERS = 20
EACH = 100
# 1,000 rows that are compared, or 200 that are changed with all that belongs to them.
MOST = 15_000


class Work(trio.abc.Instrument):
    """Counts the instructions of SQLite between two steps of the loop."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    def count(self) -> int:
        self.now += EACH
        return 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.most, self.all, self.now = max(self.most, self.now), self.all + self.now, 0


@contextmanager
def counted(host: Host) -> Iterator[Work]:
    work = Work()
    connection = host.parts.database._connection
    connection.set_progress_handler(work.count, EACH)
    trio.lowlevel.add_instrument(work)
    try:
        yield work
    finally:
        trio.lowlevel.remove_instrument(work)
        connection.set_progress_handler(None, 0)


@asynccontextmanager
async def full_machine(folder: Path, server: Server, count: int) -> AsyncIterator[Host]:
    """A machine that knows that many files, a fifth of them twins of others, while the listing has one file."""
    now_ns = time.time_ns()
    names = [f"d{number % FOLDERS}／f{number % (count * 4 // 5)}" for number in range(count)]
    files = [listed(f"file_{i:06}", name, created_ns=now_ns - i * 1000 - 10**13) for i, name in enumerate(names)]
    async with machine(folder, server, working=False) as host:
        await host.parts.listings._merger.merge(files)
        await host.parts.listings._merger.resolve_names()
        assert len(host.parts.tree.conflict_copies(after=0, limit=count)) == count // 5
        yield host


@pytest.mark.parametrize("count", sample(3_000, 100_000))
async def test_h8_a_poll_of_many_files_and_twins_holds_up_nobody(
    tmp_path: Path, server: Server, clock: Clock, count: int
) -> None:
    server.store.add("one", b"x", downloadable=True)
    async with full_machine(tmp_path, server, count) as host:
        with counted(host) as work:
            await host.parts.listings.poll()
        assert host.parts.meta.facts.removals_held == count
        assert work.most <= MOST
        # Each row was read, each twin's name was looked at, and little else: nothing had changed.
        assert work.all <= 50 * count


async def test_h8_many_that_expire_at_once_hold_up_nobody(tmp_path: Path, server: Server, clock: Clock) -> None:
    count = 1_500
    async with full_machine(tmp_path, server, count) as host:
        with host.parts.database.transaction():
            host.parts.database.execute("UPDATE remote SET expires_ns = 5")
        with counted(host) as work:
            await host.parts.listings._vanished.remove_expired(frozenset())
        assert host.parts.meta.facts.expiries_held == count
        assert work.most <= MOST


async def test_h8_many_that_were_missed_twice_hold_up_nobody(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("one", b"x", downloadable=True)
    count = 400
    async with full_machine(tmp_path, server, count) as host:
        with counted(host) as work:
            for _ in range(2):
                await host.parts.listings.walk(priority=Priority.POLL, accepted=True)
        assert host.ls() == ["one"]
        assert work.most <= MOST


# -- a conflict copy that was not looked at because nothing had changed


async def test_n3_a_twin_takes_its_plain_name_once_that_is_free(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("d／f.txt", b"old", downloadable=True)
    server.script.add(Reply(404), op="delete", times=None)
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.add("d／f.txt", b"newer", downloadable=True)
        for _ in range(3):
            await host.walk()
        copy = next(name for name in host.ls("d") if name != "f.txt")
        host.rename("d/f.txt", "d/moved")
        await host.walk()
        assert host.ls("d") == ["f.txt", "moved"]
        assert await host.read("d/f.txt") == b"old"
        assert copy not in host.ls("d")


async def test_n3_a_twin_that_was_edited_is_the_newest_and_takes_its_plain_name(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.store.add("f.txt", b"old", downloadable=True)
    async with machine(tmp_path, server) as host:
        await host.walk()
        server.store.add("f.txt", b"newer", downloadable=True)
        for _ in range(3):
            await host.walk()
        await host.write(next(name for name in host.ls() if name != "f.txt"), b"edited")
        await host.settled()
        for _ in range(2):
            await host.walk()
        assert await host.read("f.txt") == b"edited"


async def test_n3_a_twin_keeps_its_spelling_while_another_file_takes_the_name(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.store.add("f.txt", b"old", downloadable=True)
    async with machine(tmp_path, server) as host:
        await host.walk()
        server.store.add("f.txt", b"newer", downloadable=True)
        for _ in range(2):
            await host.walk()
        before = host.ls()
        host.unlink("f.txt")
        await host.write("f.txt", b"mine")
        await host.settled()
        await host.walk()
        assert host.ls() == before
        assert await host.read("f.txt") == b"mine"
        host.unlink("f.txt")
        await host.settled()
        await host.walk()
        assert await host.read("f.txt") == b"old"
