"""An older state folder, restored from a backup, asks the listing before it sends what was pending in it (W6)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.clocks import Machine, Mark, Reading, ServiceMark
from tests.faults import EditJson, FaultyServer, Reply
from tests.parts import running

Server = FaultyServer
Clock = trio.abc.Clock
_HOUR_NS = 3600 * 10**9


def later(ns: int) -> Machine:
    """This machine, some time on."""
    return Machine(lambda: time.time_ns() + ns, lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) + ns, "one run")


async def backup(tmp_path: Path, server: Server, *names: str, sends: bool = True) -> None:
    """A copy `old` of the state folder with pending files; in its later life they go up."""
    async with running(tmp_path, server, working=False, durability="local", machine=later(0)) as host:
        await host.walk()
        host.parts.timekeeper.note()
        for name in names:
            await host.write(name, name.encode() * 100)
        host.kill_copy("old")
        if sends:
            await host.start_working()
            await host.settled()


@pytest.mark.parametrize("listed_first", [False, True])
async def test_what_the_later_life_sent_is_found_and_not_sent_again(
    tmp_path: Path, server: Server, clock: Clock, listed_first: bool
) -> None:
    names = [f"f{number}" for number in range(5)]
    await backup(tmp_path, server, *names)
    there, listings = server.script.count("upload"), server.script.count("list")
    async with running(tmp_path, server, state="old", working=False, machine=later(_HOUR_NS)) as host:
        if listed_first:
            await host.walk()
            assert host.ls() == names
        await host.start_working(greeting=True)
        await host.settled()
        assert (server.script.count("upload"), server.script.count("delete")) == (there, 0)
        assert server.script.count("list") - listings <= 3, "one look for all of them"
        assert {host.id(name) for name in names} == host.remote_ids()
        assert await host.read("f3") == b"f3" * 100
        await host.walk()
        assert host.ls() == names


@pytest.mark.parametrize("changes", [{"filename": None}, {"created_at": "9999-12-31T23:59:59Z"}])
async def test_what_the_later_life_sent_is_found_though_its_entry_is_odd(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any]
) -> None:
    await backup(tmp_path, server, "a")
    edit = EditJson(lambda page: page | {"data": [entry | changes for entry in page["data"]]})
    server.script.add(edit, op="list", times=None)
    async with running(tmp_path, server, state="old", machine=later(_HOUR_NS)) as host:
        await host.settled()
        assert (server.script.count("upload"), {host.id("a")}) == (1, host.remote_ids())


async def test_what_it_did_not_send_goes_up_without_a_wait(tmp_path: Path, server: Server, clock: Clock) -> None:
    await backup(tmp_path, server, "a", sends=False)
    async with running(tmp_path, server, state="old", machine=later(_HOUR_NS)) as host:
        await host.settled()
        assert (host.remote_bytes("a"), server.script.count("upload")) == ([b"a" * 100], 1)


async def test_an_edit_of_the_same_length_much_later_is_not_taken_for_it(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    await backup(tmp_path, server, "a", sends=False)
    other = server.store.add("a", b"b" * 100, downloadable=False).id
    server.script.date = lambda: formatdate(time.time() + 3600, usegmt=True)
    half_an_hour_on = datetime.fromtimestamp(time.time() + 1800, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def made_later(page: dict[str, Any]) -> dict[str, Any]:
        for file in page["data"]:
            file["created_at"] = half_an_hour_on
        return page

    server.script.add(EditJson(made_later), op="list", times=None)
    async with running(tmp_path, server, state="old", machine=later(_HOUR_NS)) as host:
        await host.settled()
        assert sorted(host.remote_bytes("a")) == [b"a" * 100, b"b" * 100]
        assert host.id("a") != other
        assert server.script.count("delete") == 0


async def test_a_folder_that_was_just_in_use_does_not_ask(tmp_path: Path, server: Server, clock: Clock) -> None:
    await backup(tmp_path, server, "a", sends=False)
    async with running(tmp_path, server, state="old", machine=later(10**9)) as host:
        (intent,) = host.pending()
        assert (host.parts.last_run.is_old, intent.attempt) == (False, None)


_YEAR_2229_NS = 8_173_440_000 * 10**9


async def test_with_a_clock_beyond_the_year_2100_all_goes_up(tmp_path: Path, server: Server, clock: Clock) -> None:
    began = time.time_ns()
    async with running(tmp_path, server, wall=lambda: _YEAR_2229_NS + time.time_ns() - began) as host:
        await host.write("a", b"a")
        await host.settled()
        host.unlink("a")
        await host.settled()
        assert (server.script.count("upload"), host.remote_names()) == (1, [])


async def test_a_folder_that_such_a_clock_left_goes_on_with_the_right_one(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """As an older version kept it: every time is beyond the one that means never."""
    server.script.add(Reply(500), op="upload", times=1)
    async with running(tmp_path, server, durability="local", upload_delay_s=0.0) as host:
        await host.walk()
        await host.write("a", b"a" * 100)
        server.store.add("listed", b"x", downloadable=True)
        await host.walk()
        parts = host.parts
        mark, facts = parts.clock.mark(), parts.meta.facts
        with parts.database.transaction():
            parts.database.execute("UPDATE intent SET due_ns = ?", (_YEAR_2229_NS,))
            parts.database.execute("UPDATE remote SET known_ns = ?", (_YEAR_2229_NS,))
            parts.meta.record(
                steady=Mark(_YEAR_2229_NS, mark.boot_ns, _YEAR_2229_NS, mark.boot_id), walked_ns=_YEAR_2229_NS,
                service_clock=ServiceMark(Reading(facts.polled_at_ns, _YEAR_2229_NS), 0),
            )  # fmt: skip
        host.kill_copy("left")
    async with running(tmp_path, server, state="left", durability="local") as host:
        await host.settled()
        assert host.remote_bytes("a") == [b"a" * 100]
        assert host.parts.listings.walked_ago_s > 0
        (listed,) = host.parts.remotes.named("listed")
        assert listed.known_ns <= host.parts.clock()
    async with running(tmp_path, server, state="left", durability="local") as host:
        assert not host.parts.clock.is_anew
