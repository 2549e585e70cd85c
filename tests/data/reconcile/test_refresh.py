"""Listing: what it adds, what it must never take away (S4), and what it costs (A2, A4)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.api.budget import Priority
from remotefs.clocks import AHEAD_NS
from remotefs.config import Config
from remotefs.errors import RemotefsError
from tests.faults import Action, EditJson, FaultyServer, HalfBody, LostReply, Raw, Reply
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock


def _without_last(page: dict[str, Any]) -> dict[str, Any]:
    """The second half of the page is missing, and it says so: there is more."""
    return page | {"data": page["data"][: len(page["data"]) // 2], "next_page": "page_nowhere"}


@pytest.mark.parametrize(
    "fault",
    [
        HalfBody(), Reply(200, b"[]"), Reply(200, b""), Reply(200, {"data": None}), Reply(200, b"<html>hello</html>"),
        Reply(500), Reply(403), Reply(404), LostReply(), Raw(b"\0\0"), Reply(200, {"data": [], "next_page": "page_same"}), EditJson(_without_last),
        EditJson(lambda page: {}),
    ],
    ids=lambda fault: f"{type(fault).__name__}{getattr(fault, 'status', '')}",
)  # fmt: skip
async def test_s4_a_listing_that_is_not_whole_removes_and_truncates_nothing(
    tmp_path: Path, server: Server, clock: Clock, fault: Action
) -> None:
    for name in "abcd":
        server.store.add(name, b"xyz", downloadable=True)
    async with running(tmp_path, server) as host:
        await host.walk()
        before = [host.stat(name) for name in host.ls()]
        server.script.add(fault, op="list", times=None)
        for _ in range(3):
            with pytest.raises(RemotefsError):
                await host.walk()
        assert [host.stat(name) for name in host.ls()] == before
        server.script.clear()
        await host.walk()
        assert [host.stat(name) for name in host.ls()] == before
        assert server.script.count("delete") == 0


async def test_a2_a_poll_shows_what_is_new(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        server.store.add("a", b"x", downloadable=True)
        await host.walk()
        server.store.add("b", b"x", downloadable=True)
        await host.parts.listings.poll()
        assert host.ls() == ["a", "b"]
        assert host.parts.listings.statistics().known_files == 2


async def test_a4_a_poll_reads_no_further_than_what_it_knows(tmp_path: Path, server: Server, clock: Clock) -> None:
    """One request, unless what lies within the overlap fills the page."""
    old = {"next_page": None, "data": [_entry(1, _ago(days=1))]}
    for state, created_at, requests in (("far", _ago(minutes=30), 1), ("near", _ago(minutes=3), 2)):
        page = {"next_page": "page_2", "data": [_entry(2, _ago(minutes=1)), _entry(3, created_at)]}
        server.script.clear()
        server.script.add(Reply(200, old), op="list", times=None, when=lambda request: "page_2" in request.query)
        server.script.add(Reply(200, page), op="list", times=None)
        async with running(tmp_path, server, state=state, working=False) as host:
            await host.walk()
            assert host.ls() == ["f1", "f2", "f3"]
            before = server.script.count("list")
            await host.parts.listings.poll()
            assert server.script.count("list") - before == requests


@pytest.mark.parametrize("odd", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1901-01-01T00:00:00Z"])
async def test_a_file_of_another_century_hides_no_new_one_and_moves_no_clock(
    tmp_path: Path, server: Server, clock: Clock, odd: str
) -> None:
    page = {"next_page": None, "data": [_entry(1, _ago(minutes=1)), _entry(2, odd)]}
    rule = server.script.add(Reply(200, page), op="list", times=None)
    async with running(tmp_path, server, working=False) as host:
        await host.walk()
        await host.parts.listings.poll()
        assert host.ls() == ["f1", "f2"]
        facts, now_ns = host.parts.meta.facts, time.time_ns()
        assert abs(host.parts.service_clock.now_ns() - now_ns) < 60e9
        assert abs(facts.polled_at_ns - now_ns) < 60e9
        # The attempt of an upload is looked for from the newest file on whose time can be true.
        newest_ns = host.parts.remotes.newest_ns(now_ns + AHEAD_NS)
        assert 50e9 < now_ns - newest_ns < 120e9
        server.script.remove(rule)
        page["data"].insert(0, _entry(3, _ago(seconds=1)))
        server.script.add(Reply(200, page), op="list", times=None)
        await host.parts.listings.poll()
        assert host.ls() == ["f1", "f2", "f3"]


async def test_expired_files_are_not_shown(tmp_path: Path, server: Server, clock: Clock) -> None:
    """R4."""
    server.store.add("gone", b"x", downloadable=True, expires_in_s=-10)
    server.store.add("here", b"x", downloadable=True, expires_in_s=10_000)
    async with running(tmp_path, server) as host:
        await host.walk()
        assert host.ls() == ["here"]
        assert host.xattr("here", "expires_at") != "never"


async def test_a_file_may_become_downloadable(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("a", b"x", downloadable=False)
    async with running(tmp_path, server) as host:
        await host.walk()
        assert (host.xattr("a", "readable")[:2], host.xattr("a", "downloadable")) == ("no", "false")
        server.script.add(EditJson(_downloadable), op="list", times=None)
        await host.walk()
        assert (host.xattr("a", "readable"), host.xattr("a", "downloadable")) == ("yes", "true")


async def test_what_was_unlinked_here_stays_hidden_while_the_service_still_lists_it(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, working=False) as host:
        server.store.add("a", b"x", downloadable=True)
        await host.walk()
        host.unlink("a")
        await host.walk()
        assert host.ls() == []


async def test_w8_a_generated_file_that_was_edited_shows_again_beside_the_edit(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    made = server.store.add_generated("report.txt", b"made").id
    async with running(tmp_path, server) as host:
        await host.walk()
        await host.write("report.txt", b"edited")
        await host.walk()
        assert host.ls() == sorted(["report.txt", f"report [{made}].txt"])
        assert await host.read("report.txt") == b"edited"
        assert await host.read(f"report [{made}].txt") == b"made"
        assert made in host.remote_ids()


async def test_the_first_walk_tells_how_far_it_is(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("a", b"x", downloadable=True)
    told: list[int] = []
    async with running(tmp_path, server) as host:
        await host.parts.listings.walk(priority=Priority.FIRST_LISTING, report=told.append)
    assert told == [1]


async def test_running_it_polls_and_survives_failures(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.store.add("a", b"x", downloadable=True)
    async with running(tmp_path, server, change=_eager) as host:
        await host.nursery.start(host.parts.refresh.run)
        await host.until(lambda: host.ls() == ["a"])
        server.script.add(Reply(500), op="list", times=3)
        server.store.add("b", b"x", downloadable=True)
        host.parts.refresh.wake()
        await host.until(lambda: host.ls() == ["a", "b"])
        assert host.parts.listings.statistics().polled_s > 0


async def test_a4_use_after_idling_is_answered_by_a_poll(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, change=_idle_soon) as host:
        await host.walk()
        await host.nursery.start(host.parts.refresh.run)
        await trio.sleep(10.0)
        server.store.add("a", b"x", downloadable=True)
        await trio.sleep(10.0)
        assert host.ls() == []
        await host.until(lambda: _asked(host) == ["a"], tries=5)


def _asked(host: Host) -> list[str]:
    host.parts.refresh.note_use()
    return host.ls()


def _downloadable(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"data": [entry | {"downloadable": True} for entry in page["data"]]}


def _eager(config: Config) -> Config:
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, poll_in_use_s=1.0))


def _idle_soon(config: Config) -> Config:
    refresh = msgspec.structs.replace(config.refresh, poll_in_use_s=0.5, idle_after_s=2.0)
    return msgspec.structs.replace(config, refresh=refresh)


def _ago(**ago: float) -> str:
    return (datetime.now(UTC) - timedelta(**ago)).isoformat()


def _entry(number: int, created_at: str) -> dict[str, Any]:
    return {
        "id": f"file_{number}", "type": "file", "filename": f"f{number}", "mime_type": "text/plain", "size_bytes": 1,
        "created_at": created_at, "downloadable": True, "expires_at": None,
    }  # fmt: skip
