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
from remotefs.data.download.readahead import LOOK_BYTES
from tests.faults import FaultyServer, faulty_server
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


async def test_a_reader_of_two_kinds_of_files_has_none_of_a_third_fetched(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer
) -> None:
    """As a file browser looks into some of the files of a folder, and leaves out those whose names tell it enough."""
    names = [f"{n:03}.{kind}" for n in range(20) for kind in ("json", "pdf", "txt")]
    for name in names:
        server.store.add_generated(name, name.encode() * 100)
    async with running(tmp_path, server) as host:
        await host.walk()
        wanted = [name for name in names if not name.endswith("txt")]
        await read_in_turn(host, wanted[:20])
        await until_calm(host)
        assert downloads(host) > 24, "those to come are on their way"
        await read_in_turn(host, wanted[20:])
        await until_calm(host)
        assert downloads(host) == len(wanted)


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


async def test_a_look_that_reads_small_files_to_their_end_brings_no_long_ones(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer
) -> None:
    """`head -c 4096 *` reads a file of 3 kB as `cat` does. `cat` goes on to the next long one."""
    sizes = {f"{n:03}.bin": 400_000 if n % 8 > 3 else 3000 for n in range(64)}
    for name, size in sizes.items():
        server.store.add_generated(name, bytes(size))
    names = list(sizes)
    async with running(tmp_path, server) as host:
        await host.walk()
        await look_in_turn(host, names[:40])
        await until_calm(host)
        assert not any(sizes[name] > LOOK_BYTES and host.parts.content.has_all(host.id(name)) for name in names)
        for name in names[40:48]:
            await host.read(name)
        await host.read(names[48])
        await until_calm(host)
        assert host.parts.content.has_all(host.id(names[52])), "long ones were read, so the next one is on its way"


async def test_who_reads_the_beginning_and_the_end_reads_no_file_through(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, longer: list[str]
) -> None:
    """The index of an archive, the trailer of a PDF."""
    async with running(tmp_path, server) as host:
        await host.walk()
        for name in longer[:12]:
            handle = await host.open(name)
            for offset in (0, 384_000):
                await host.fs.files.read(handle.fh, offset, 16_000)
            await host.close(handle)
        await until_calm(host)
        assert len({request.path for request in server.script.requests("content")}) == 12


# -- pictures, whose length is verified when they are opened (R6)


@pytest.fixture
def pictures(server: FaultyServer) -> list[str]:
    names = [f"{folder}\uff0f{n}.png" for folder in "ab" for n in range(6)]
    for name in names:
        server.store.add_generated(name, bytes(1_500_000), mime_type="image/png")
    return [name.replace("\uff0f", "/") for name in names]


def asked_for(host: Host, name: str) -> list[str | None]:
    """The ranges that were asked for of a file, None for all of it."""
    requests = host.server.script.requests("content")
    return [one.headers.get("range") for one in requests if one.path.split("/")[-2] == host.id(name)]


async def test_after_one_look_at_a_picture_no_more_is_asked_for_of_the_others(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, pictures: list[str]
) -> None:
    async with running(tmp_path, server) as host:
        await host.walk()
        await look_in_turn(host, pictures)
        assert [asked_for(host, name) for name in pictures[1:]] == [["bytes=0-262143"]] * 11, "in other folders too"


async def test_pictures_that_are_read_through_cost_one_request(
    tmp_path: Path, clock: trio.abc.Clock, server: FaultyServer, pictures: list[str]
) -> None:
    """After a look the first one costs two, in the same folder alone."""
    async with running(tmp_path, server) as host:
        await host.walk()
        for name in pictures[:3]:
            await host.read(name)
        await look_in_turn(host, pictures[3:4])
        for name in pictures[4:]:
            await host.read(name)
        assert [len(asked_for(host, name)) for name in pictures] == [1, 1, 1, 1, 2, 1, *[1] * 6]


async def test_without_ranges_an_expected_look_at_a_picture_costs_as_before(
    tmp_path: Path, clock: trio.abc.Clock, pictures: list[str]
) -> None:
    with faulty_server(tmp_path / "plain", ranges=False) as server:
        for name in ("a.png", "b.png", "c.png"):
            server.store.add_generated(name, bytes(1_500_000), mime_type="image/png")
        async with running(tmp_path, server) as host:
            await host.walk()
            await look_in_turn(host, ["a.png"])
            for name in ("b.png", "c.png"):
                assert await host.read(name) == bytes(1_500_000)
            assert [len(asked_for(host, name)) for name in ("a.png", "b.png", "c.png")] == [1, 1, 1]


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
