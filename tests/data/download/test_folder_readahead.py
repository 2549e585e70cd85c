"""Fetching the next files of a folder for a reader that opens them in order, and for no other."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from remotefs.data.download.folder_readahead import Order
from tests.faults import FaultyServer
from tests.parts import Host, running

FILES = 40


@pytest.fixture
def names(server: FaultyServer) -> list[str]:
    """Files of somebody else, uploaded in another order than that of their names."""
    names = [f"{n:03}.txt" for n in range(FILES)]
    for name in random.Random(5).sample(names, FILES):
        server.store.add_generated(name, name.encode() * 100)
    return names


def downloads(host: Host) -> int:
    return sum(request.op == "content" for request in host.server.script.requests())


async def read_in_turn(host: Host, names: list[str]) -> None:
    for name in names:
        assert await host.read(name) == name.encode() * 100


async def until_calm(host: Host) -> None:
    """Until no reply is read any more."""
    await host.until(lambda: host.parts.downloader.statistics().streams == 0)


async def test_the_next_files_are_on_their_way(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, names: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        await read_in_turn(host, names[:8])
        await until_calm(host)
        assert downloads(host) > 12
        await read_in_turn(host, names[8:])
        await until_calm(host)
        assert downloads(host) == FILES, "each is fetched once"
        await read_in_turn(host, names)
        assert downloads(host) == FILES


async def test_a_walk_in_the_order_of_the_listing_counts_too(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, names: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        listed = [entry.name for entry in host.fs.namespace.readdir(host.fs.namespace.opendir(1), 2)]
        assert listed != names
        await read_in_turn(host, listed[:8])
        await until_calm(host)
        assert downloads(host) > 12


async def test_it_stops_when_the_reader_does(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, names: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        await read_in_turn(host, names[:5])
        await until_calm(host)
        assert downloads(host) <= 5 + 16


@pytest.fixture
def longer(server: FaultyServer) -> list[str]:
    """Files that a look does not bring whole."""
    names = [f"{n:03}.bin" for n in range(FILES)]
    for name in names:
        server.store.add_generated(name, bytes(400_000))
    return names


async def look_in_turn(host: Host, names: list[str]) -> None:
    for name in names:
        handle = await host.open(name)
        await host.fs.files.read(handle.fh, 0, 16 * 1024)
        await host.close(handle)


async def test_files_that_are_only_looked_at_are_fetched_alone(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, longer: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        await look_in_turn(host, longer[:12])
        await until_calm(host)
        assert downloads(host) == 12


async def test_a_look_among_files_that_are_read_ends_it_until_some_are_read_again(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, longer: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        for name in longer[:4]:
            await host.read(name)
        await look_in_turn(host, longer[4:30])
        await until_calm(host)
        assert downloads(host) == 30, "what was on its way already, and then each look alone"
        for name in longer[30:34]:
            await host.read(name)
        await until_calm(host)
        assert downloads(host) > 34


async def test_files_opened_in_no_order_are_fetched_alone(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, names: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        await read_in_turn(host, [*names[35:25:-4], *names[20:0:-7]])
        await until_calm(host)
        assert downloads(host) == 6


def after(ino: int) -> Callable[[int], tuple[int, ...]]:
    """What follows a file, of which there are endlessly many."""
    return lambda limit: tuple(range(ino + 1, ino + 1 + limit))


@given(st.lists(st.integers(0, 30), max_size=40))
def test_only_a_run_of_neighbours_is_believed(opens: list[int]) -> None:
    order, run = Order(), 0
    last: int | None = None
    for ino in opens:
        worth = order.opened(ino, 8, after(ino))
        run = run + 1 if last is not None and last < ino <= last + 4 else 0
        last = ino
        assert worth == (tuple(range(ino + 1, ino + 1 + min(1 << run, 8))) if run >= 2 else ())


def test_what_follows_is_asked_for_once_for_many_opens() -> None:
    order, asked = Order(), []

    def following(ino: int, limit: int) -> tuple[int, ...]:
        asked.append(ino)
        return after(ino)(limit)

    for ino in range(64):
        order.opened(ino, 16, partial(following, ino))
    assert len(asked) <= 5
