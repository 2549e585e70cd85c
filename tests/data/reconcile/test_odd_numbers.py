"""Numbers and times that cannot be, through everything that works with them; and clocks that are set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.api.models import decode_file
from remotefs.clocks import STEP_AFTER_NS, Machine
from remotefs.errors import ReplyBroken
from remotefs.mount.commands.pending import PendingReasons
from remotefs.mount.commands.status import StatusReport
from tests.api.support import wire_file
from tests.data.reconcile.test_polling import Wall, add, use
from tests.faults import Action, Call, EditJson, FaultyServer, LostReply, Reply
from tests.hostile import VALUES, with_literal
from tests.parts import Host, running, settings
from tests.upkeep.support import Time, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock
HOUR_S = 3600.0
FIELDS = ("size_bytes", "created_at", "expires_at")
FAR = "2262-01-01T00:00:00Z"


def _decodes(body: bytes) -> bool:
    try:
        decode_file(body)
    except ReplyBroken:
        return False
    return True


def _entries(field: str) -> list[bytes]:
    """A listed file for each odd value of a field."""
    named = [wire_file(f"file_{field}_{number}", filename=f"{field}-{number}") for number in range(len(VALUES))]
    return [with_literal(entry, field, literal) for entry, literal in zip(named, VALUES, strict=True)]


def _page(*entries: bytes) -> bytes:
    return b'{"data": [%s], "next_page": null}' % b",".join(entries)


async def _look_at_everything(host: Host) -> None:
    """What people and programs ask for."""
    for name in host.ls():
        inode = host.stat(name)
        assert all(-(2**63) <= value < 2**63 for value in inode if isinstance(value, int))
        for attribute in ("id", "created_at", "expires_at", "state", "readable", "mime_type"):
            try:
                host.xattr(name, attribute)
            except Exception as error:  # noqa: BLE001 - which one is the matter
                assert type(error).__name__ == "NoAttribute"  # noqa: PT017 - as above
    host.fs.attributes.statfs()
    parts = host.parts
    reasons = PendingReasons(
        parts.store, parts.intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared
    )
    await StatusReport(settings(host.state_dir, host.server.url), host.parts, reasons).now(draining=False)


async def test_a_listing_of_odd_numbers_is_read_and_shown(tmp_path: Path, server: Server, clock: Clock) -> None:
    readable = [entry for field in FIELDS for entry in _entries(field) if _decodes(entry)]
    assert len(readable) > 20
    async with running(tmp_path, server) as host:
        server.script.add(Reply(200, _page(*readable), {"content-type": "application/json"}), op="list", times=None)
        await walks(host, 2)
        await host.parts.listings.poll()
        assert len(host.ls()) > 15
        await _look_at_everything(host)
        server.script.clear()
        await host.write("mine", b"as ever")
        assert host.remote_bytes("mine") == [b"as ever"]


async def test_s4_a_listing_of_an_entry_that_cannot_be_read_changes_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    kept = wire_file(add(server, "kept"), filename="kept")
    entries = [with_literal(kept, field, literal) for field in FIELDS for literal in VALUES]
    broken = [entry for entry in entries if not _decodes(entry)]
    assert len(broken) > 10
    async with running(tmp_path, server) as host:
        await host.walk()
        before = host.stat("kept")
        for entry in broken:
            server.script.add(Reply(200, _page(entry), {"content-type": "application/json"}), op="list")
            await host.walk()
            assert host.ls() == ["kept"]
            assert host.stat("kept").size == before.size


async def test_w6_an_upload_whose_reply_has_an_odd_time_is_not_taken_for_lost(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        entries = [entry for field in FIELDS[1:] for entry in _entries(field) if _decodes(entry)]
        for number, entry in enumerate(entries):
            server.script.add(Reply(200, entry, {"content-type": "application/json"}), op="upload")
            await host.write(f"mine{number}", b"five!")
            assert host.xattr(f"mine{number}", "state") == "clean", entry
        assert server.script.count("upload") == len(entries)


# -- a time of creation in the service's future


@dataclass
class SmallPages(Action):
    """Pages of so many files, whatever was asked for."""

    files: int

    async def __call__(self, call: Call) -> None:
        query = call.scope["query_string"].replace(b"limit=1000", b"limit=%d" % self.files)
        call.scope["query_string"] = query
        await call.carry_out()


def _made_in(year: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda page: page | {"data": [page["data"][0] | {"created_at": year}, *page["data"][1:]]}


async def test_one_file_from_the_future_does_not_hide_what_comes_later(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for number in range(3):
        add(server, f"before{number}")
    async with running(tmp_path, server) as host:
        server.script.add(EditJson(_made_in(FAR)), op="list", times=2)
        await walks(host, 1)
        await host.parts.listings.poll()
        for number in range(5):
            add(server, f"later{number}")
        server.script.add(SmallPages(2), op="list", times=None)
        await host.parts.listings.poll()
        assert [name for name in host.ls() if name.startswith("later")] == [f"later{n}" for n in range(5)]


async def test_a_clock_that_was_ahead_does_not_hide_what_comes_later(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    for number in range(3):
        add(server, f"before{number}")
    now = Time(server)
    async with running(tmp_path, server, machine=now.machine()) as host:
        now.service_wrong_s = 30 * HOUR_S
        await host.walk()
        now.service_wrong_s = 0.0
        await host.parts.listings.poll()
        now.passed_s = STEP_AFTER_NS / 1e9 + 1.0
        await host.parts.listings.poll()
        for number in range(5):
            add(server, f"later{number}")
        server.script.add(SmallPages(2), op="list", times=None)
        await host.parts.listings.poll()
        assert len(host.ls()) == 8
        before = server.script.count("list")
        await host.parts.listings.poll()
        await host.parts.listings.poll()
        assert server.script.count("list") - before <= 8


async def test_a_state_that_remembers_the_future_reads_on(tmp_path: Path, server: Server, clock: Clock) -> None:
    for number in range(3):
        add(server, f"before{number}")
    async with running(tmp_path, server) as host:
        await host.walk()
        host.parts.meta.record(polled_at_ns=9 * 10**18)
    for number in range(5):
        add(server, f"later{number}")
    async with running(tmp_path, server) as host:
        server.script.add(SmallPages(2), op="list", times=None)
        await host.parts.listings.poll()
        assert len(host.ls()) == 8
        assert host.parts.meta.facts.polled_at_ns < time.time_ns() + 600 * 10**9


async def test_w6_one_file_from_the_future_does_not_keep_uploads_from_being_found(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "theirs")
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(EditJson(_made_in(FAR)), op="list")
        await host.walk()
        server.script.add(LostReply(), op="upload")
        await host.write("mine", b"once")
        await host.settled()
        assert (server.script.count("upload"), host.remote_bytes("mine")) == (1, [b"once"])


# -- a wall clock that is set


async def test_a_wall_clock_that_was_ahead_makes_no_walk_of_every_poll(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    right, ahead = Wall(), Wall()
    ahead.suspended_s = 2 * HOUR_S
    wall = [ahead]
    async with running(tmp_path, server, machine=Machine(lambda: wall[0](), right, "one run")) as host:
        await host.walk()
        wall[0] = right
        walked = host.parts.meta.facts.walked_ns
        host.nursery.start_soon(use, host)
        await host.nursery.start(host.parts.refresh.run)
        before = server.script.count("list")
        await trio.sleep(300.0)
        assert server.script.count("list") - before > 20
        assert host.parts.meta.facts.walked_ns == walked


async def test_a_wall_clock_that_is_set_is_no_suspend(tmp_path: Path, server: Server, clock: Clock) -> None:
    right, wall = Wall(), Wall()
    async with running(tmp_path, server, machine=Machine(wall, right, "one run")) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        await trio.sleep(100.0)
        before = server.script.count("list")
        for _ in range(10):
            wall.suspended_s += 2 * HOUR_S
            await trio.sleep(6.0)
        assert server.script.count("list") - before <= 1


@pytest.mark.parametrize("set_by_s", [2 * HOUR_S, -2 * HOUR_S])
async def test_s4_what_became_known_just_now_is_not_missed_because_the_clock_was_set(
    tmp_path: Path, server: Server, clock: Clock, set_by_s: float
) -> None:
    add(server, "kept")
    now = Time(server)
    async with running(tmp_path, server, machine=now.machine()) as host:
        await host.walk()
        await host.write("new", b"x")
        now.wall_wrong_s = set_by_s
        lacking = EditJson(lambda page: page | {"data": [f for f in page["data"] if f["filename"] != "new"]})
        server.script.add(lacking, op="list", times=None)
        await walks(host, 3)
        assert host.ls() == ["kept", "new"]


async def test_s4_what_became_known_while_the_clock_was_ahead_is_missed_in_time(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    gone = add(server, "gone")
    now = Time(server)
    now.wall_wrong_s = 2 * HOUR_S
    async with machine(tmp_path, server, change=lambda config: config, machine=now.machine()) as host:
        await host.walk()
        now.wall_wrong_s = 0.0
        server.store.delete(gone)
        now.passed_s = 60.0
        await walks(host, 2)
        assert host.ls() == ["kept"]
