"""What a listing shows otherwise than an earlier one: what two agree on is taken; and deletions that came to nothing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.mount.check.inspection import check_state
from tests.data.reconcile.test_odd_entries import odd
from tests.faults import EditJson, FaultyServer, LingeringDelete, LostReply, Reply
from tests.parts import Host
from tests.upkeep.support import Time, add, machine, view, walks

Clock = trio.abc.Clock
NOT_FOUND = {"type": "error", "error": {"type": "not_found_error", "message": "it is not there"}}


@pytest.mark.parametrize("wrong", ["other.txt", "folder／below", "b"])
async def test_s4_a_file_that_was_first_listed_by_a_wrong_name_gets_its_own(
    tmp_path: Path, server: FaultyServer, clock: Clock, wrong: str
) -> None:
    add(server, "b", b"2")
    add(server, "a", b"1")
    rule = server.script.add(odd("a", filename=wrong), op="list", times=None)
    async with machine(tmp_path, server) as host:
        await host.walk()
        assert "a" not in await view(host)
        server.script.remove(rule)
        await walks(host)
        assert await view(host) == {"a": b"1", "b": b"2"}
        assert host.ls() == ["a", "b"], "and no folder is left of the wrong name"


async def test_s4_one_listing_with_a_wrong_name_moves_no_file(
    tmp_path: Path, server: FaultyServer, clock: Clock
) -> None:
    add(server, "a", b"1")
    async with machine(tmp_path, server) as host:
        await walks(host)
        for wrong in ("b", "c"):
            server.script.add(odd("a", filename=wrong), op="list", times=1)
            await host.walk()
        await host.walk()
        assert host.ls() == ["a"]


async def test_a_file_that_was_renamed_here_keeps_its_name(tmp_path: Path, server: FaultyServer, clock: Clock) -> None:
    add(server, "a", b"1", downloadable=False)
    async with machine(tmp_path, server, durability="local") as host:
        await walks(host)
        host.rename("a", "mine")
        server.script.add(odd("a", filename="b"), op="list", times=None)
        await walks(host, 3)
        assert host.ls() == ["mine"]


async def test_n2_a_file_of_ours_keeps_the_name_that_its_upload_asked_for(
    tmp_path: Path, server: FaultyServer, clock: Clock
) -> None:
    async with machine(tmp_path, server) as host:
        await host.write("ours.txt", b"ours")
        await host.settled()
        server.script.add(odd("ours.txt", filename="b", mime_type="text/odd"), op="list", times=None)
        before = server.script.count()
        await walks(host, 3)
        assert await view(host) == {"ours.txt": b"ours"}
        assert server.script.count("upload") == 1, f"of {before} requests and more"


@pytest.fixture
async def worker(tmp_path: Path, server: FaultyServer, clock: Clock) -> AsyncIterator[tuple[Host, Time]]:
    """A machine with a file of its own at the service."""
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await host.write("ours", b"ours")
        await host.settled()
        yield host, time


async def _lists_for(host: Host, time: Time, seconds: int) -> None:
    """So many seconds with a complete listing every 30."""
    for _ in range(0, seconds, 30):
        time.passed_s += 30
        await host.walk()
        await host.settled()


def _deletes(server: FaultyServer) -> int:
    return server.script.count("delete")


async def test_s3_a_file_that_is_still_listed_after_a_404_is_deleted_again(
    server: FaultyServer, worker: tuple[Host, Time], caplog: pytest.LogCaptureFixture
) -> None:
    host, time = worker
    server.script.add(Reply(404, NOT_FOUND), op="delete", times=1)
    host.unlink("ours")
    await host.settled()
    assert (_deletes(server), len(host.stored())) == (1, 1)
    with caplog.at_level(logging.WARNING):
        await _lists_for(host, time, 120)
    assert (_deletes(server), len(host.stored())) == (2, 0)
    assert [record for record in caplog.records if "still lists" in record.message]


async def test_a_deleted_file_that_is_listed_for_a_moment_costs_no_request(
    server: FaultyServer, worker: tuple[Host, Time]
) -> None:
    host, time = worker
    server.script.add(LingeringDelete(3600.0), op="delete", times=1)
    host.unlink("ours")
    await host.settled()
    await _lists_for(host, time, 60)
    assert _deletes(server) == 1


async def test_a_file_that_cannot_be_deleted_is_asked_for_ever_more_rarely(
    server: FaultyServer, worker: tuple[Host, Time]
) -> None:
    host, time = worker
    server.script.add(Reply(404, NOT_FOUND), op="delete", times=None)
    host.unlink("ours")
    await host.settled()
    await _lists_for(host, time, 1000)
    assert 2 < _deletes(server) <= 5, "a minute, two, four …"


async def test_w5_a_file_that_is_to_go_after_its_successor_does_not_go_before(
    tmp_path: Path, server: FaultyServer, clock: Clock
) -> None:
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine(), durability="local") as host:
        await host.write("ours", b"ours")
        await host.settled()
        server.script.add(Reply(503), op="upload", times=None)
        await host.write("newer", b"newer")
        host.rename("newer", "ours")
        host.rename("ours", "elsewhere")
        for _ in range(20):
            time.passed_s += 30
            await host.walk()
        assert _deletes(server) == 0


@pytest.mark.parametrize("is_listed_before", [False, True])
async def test_s2_a_reply_that_alone_says_that_our_file_is_given_back_costs_no_bytes(
    tmp_path: Path, server: FaultyServer, clock: Clock, is_listed_before: bool
) -> None:
    """The service gives no upload back: what is evicted here is gone."""
    server.script.add(EditJson(lambda file: file | {"downloadable": True}), op="upload", times=None)
    async with machine(tmp_path, server) as host:
        await host.write("ours", b"ours")
        await host.settled()
        if is_listed_before:
            await host.walk()
        host.parts.content.trim(0)
        await walks(host)
        assert await view(host) == {"ours": b"ours"}
        assert await check_state(host.parts) == []


@pytest.mark.parametrize("is_lost", [False, True])
async def test_what_reply_and_listing_say_is_given_back_may_be_evicted(
    tmp_path: Path, server: FaultyServer, clock: Clock, is_lost: bool
) -> None:
    """Whether the upload was confirmed or found in the listing (W6)."""
    server.script.add(LostReply() if is_lost else EditJson(_given), op="upload")
    server.script.add(EditJson(lambda page: page | {"data": list(map(_given, page["data"]))}), op="list", times=None)
    async with machine(tmp_path, server) as host:
        await host.write("ours", b"ours")
        await host.settled()
        await host.walk()
        assert host.parts.content.trim(0)[0] == 1


def _given(file: dict[str, Any]) -> dict[str, Any]:
    return file | {"downloadable": True}
