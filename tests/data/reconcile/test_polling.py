"""The task that lists: when it does, what it costs, and what it finds out about the files that somebody looks at."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.config import Config
from tests.faults import EditJson, FaultyServer, Reply, Request
from tests.parts import Host, running
from tests.upkeep.support import add

Server = FaultyServer
Clock = trio.abc.Clock


class Wall:
    """Our clock: it goes with trio's, and on while the machine is suspended."""

    def __init__(self) -> None:
        self._began = time.time() - trio.current_time()
        self.suspended_s = 0.0

    def __call__(self) -> int:
        return int((self._began + trio.current_time() + self.suspended_s) * 1e9)


def set_to(config: Config, **refresh: Any) -> Config:
    """With other settings of listing."""
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, **refresh))


def limited(config: Config, **refresh: Any) -> Config:
    """With the limit that the service has for everybody."""
    config = set_to(config, **refresh)
    return msgspec.structs.replace(config, service=msgspec.structs.replace(config.service, requests_per_minute=500))


async def use(host: Host) -> None:
    """Somebody works on the mount, all the time."""
    while True:
        host.parts.refresh.note_use()
        await trio.sleep(5.0)


async def shown(host: Host, path: str) -> float:
    """Seconds until a file is seen, without anybody asking for it."""
    began = trio.current_time()
    await host.until(lambda: host.parts.tree.resolve(path) is not None, tries=100)
    return trio.current_time() - began


# -- when


async def test_a4_seconds_in_use_and_minutes_when_idle(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, wall=Wall()) as host:
        await host.nursery.start(host.parts.refresh.run)
        add(server, "while-in-use")
        assert await shown(host, "while-in-use") <= 10.0
        await trio.sleep(300.0)
        before = server.script.count("list")
        await trio.sleep(700.0)
        assert server.script.count("list") - before <= 3
        add(server, "while-idle")
        host.parts.refresh.note_use()
        assert await shown(host, "while-idle") <= 10.0


async def test_a4_after_a_suspend_the_first_look_is_at_once(tmp_path: Path, server: Server, clock: Clock) -> None:
    wall = Wall()
    async with running(tmp_path, server, wall=wall, change=partial(set_to, poll_idle_s=1e6, walk_every_s=1e9)) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        await trio.sleep(300.0)
        add(server, "meanwhile")
        await trio.sleep(350.0)
        assert host.ls() == []
        wall.suspended_s = 8 * 3600.0
        assert await shown(host, "meanwhile") <= 10.0
        before = server.script.count("list")
        await trio.sleep(350.0)
        assert server.script.count("list") == before


async def test_a4_an_hour_asleep_makes_the_walk_due(tmp_path: Path, server: Server, clock: Clock) -> None:
    wall = Wall()
    async with running(tmp_path, server, wall=wall) as host:
        await host.walk()
        walked = host.parts.listings.statistics().walked_s
        await host.nursery.start(host.parts.refresh.run)
        wall.suspended_s = 3600.0
        await host.until(lambda: host.parts.listings.statistics().walked_s > walked)


async def test_what_happened_while_nothing_was_mounted_shows_at_once(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, wall=Wall()) as host:
        await host.walk()
    add(server, "meanwhile")
    async with running(tmp_path, server, wall=Wall()) as host:
        await host.nursery.start(host.parts.refresh.run)
        assert await shown(host, "meanwhile") <= 2.0


@pytest.mark.long
async def test_a4_a_tree_that_is_known_is_not_listed_whole_at_the_next_mount(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """All its files came within a minute, as from a script, an hour ago; of four pages the first is enough."""
    server.store._clock = lambda: time.time() - 3600.0
    for number in range(3100):
        add(server, f"f{number}")
    wall = Wall()
    async with running(tmp_path, server, wall=wall) as host:
        await host.walk()
    before = server.script.count("list")
    async with running(tmp_path, server, wall=wall) as host:
        await host.nursery.start(host.parts.refresh.run)
        await host.until(lambda: host.parts.listings.is_known)
        assert server.script.count("list") - before == 2  # who answers, and what is new


async def test_a_listing_that_is_refused_is_not_asked_for_all_the_time(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    theirs = add(server, "a")
    async with running(tmp_path, server, wall=Wall()) as host:
        await host.walk()
        server.script.add(Reply(400), op="list", times=None)
        server.script.add(Reply(400), op="metadata", times=None)
        host.parts.reported_missing.report(theirs)
        before = server.script.count()
        host.nursery.start_soon(use, host)
        await host.nursery.start(host.parts.refresh.run)
        await trio.sleep(60.0)
        assert server.script.count() - before <= 30
        assert host.ls() == ["a"]


# -- what it costs


def in_a_large_account(config: Config) -> Config:
    """A poll reads one page, as where the files of the last ten minutes fit into one; see `large`."""
    return limited(config, poll_overlap_s=-1e6)


def large(server: Server) -> None:
    """From now on there are more files than a page shows."""
    more = EditJson(lambda page: page | {"next_page": "page_more"})
    server.script.add(more, op="list", when=lambda request: not asks_for_ids(request), times=None)


def asks_for_ids(request: Request) -> bool:
    return request.op == "list" and "ids%5B%5D" in request.query


def ids_asked_for(server: Server) -> int:
    return sum(map(asks_for_ids, server.script.requests()))


@asynccontextmanager
async def looking(folder: Path, server: Server, **files: int) -> AsyncIterator[Host]:
    """A machine in a large account that is being used, with folders of so many files of others."""
    for name, count in files.items():
        for number in range(count):
            add(server, f"{name}/{number:02}")
    async with running(folder, server, wall=Wall(), change=in_a_large_account) as host:
        await host.walk()
        large(server)
        host.nursery.start_soon(use, host)
        await host.nursery.start(host.parts.refresh.run)
        # What became known only now is not missed yet.
        await trio.sleep(60.0)
        yield host


async def test_a4_all_that_is_asked_stays_within_two_percent(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Polls and looks at what is in view, with somebody at work all the time."""
    async with looking(tmp_path, server, d=3) as host:
        before = server.script.count()
        for _ in range(5):
            host.ls("d")
            await trio.sleep(60.0)
        spent = server.script.count() - before
        assert 25 <= spent <= 5 * 10 + 2
        assert ids_asked_for(server) >= 5


# -- what is in view


async def test_s4_what_is_in_view_and_was_deleted_elsewhere_goes_soon(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with looking(tmp_path, server, d=3) as host:
        assert (ids_asked_for(server), host.ls("d")) == (0, ["00", "01", "02"])
        gone = host.id("d/00")
        server.store.delete(gone)
        began, walked = trio.current_time(), host.parts.listings.statistics().walked_s
        await host.until(lambda: host.parts.tree.resolve("d/00") is None, tries=100)
        assert trio.current_time() - began <= 60.0
        assert (host.ls("d"), host.parts.listings.statistics().walked_s) == (["01", "02"], walked)
        assert [request.path for request in server.script.requests("metadata")] == [f"/v1/files/{gone}"]


async def test_s4_what_an_answer_about_ids_lacks_is_only_suspected(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with looking(tmp_path, server, d=3) as host:
        server.script.clear()
        server.script.add(EditJson(lambda page: page | {"data": []}), op="list", when=asks_for_ids, times=None)
        large(server)
        host.ls("d")
        await host.until(lambda: server.script.count("metadata") >= 6, tries=300)
        assert host.ls("d") == ["00", "01", "02"]


async def test_s1_an_answer_that_lacks_very_much_is_left_to_the_guard(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with looking(tmp_path, server, d=21, e=1) as host:
        for name in host.ls("d"):
            server.store.delete(host.id(f"d/{name}"))
        await host.until(lambda: ids_asked_for(server) >= 2, tries=200)
        assert (server.script.count("metadata"), len(host.ls("d"))) == (0, 21)


@pytest.mark.parametrize("answer", [Reply(400), EditJson(lambda page: page | {"next_page": "page_more"})])
async def test_a_server_that_knows_no_ids_is_asked_once_an_hour(
    tmp_path: Path, server: Server, clock: Clock, answer: Reply | EditJson
) -> None:
    async with looking(tmp_path, server, d=3) as host:
        server.script.add(answer, op="list", when=asks_for_ids, times=None)
        host.ls("d")
        await host.until(lambda: ids_asked_for(server) > 0, tries=100)
        add(server, "new")
        assert await shown(host, "new") <= 20.0
        await trio.sleep(100.0)
        assert ids_asked_for(server) == 1
