"""S1, R4: files expire by the service's clock, many at once only as it was foreseen, and no clock's jump counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.clocks import STEP_AFTER_NS
from remotefs.control.messages.base import Nothing
from remotefs.mount.check.inspection import check_state
from tests.commands import commands, quietly
from tests.faults import EditJson, FaultyServer
from tests.parts import Host
from tests.upkeep.support import DAY_S, YEAR_2200, Time, add, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock
MANY = 30


def _many(server: Server, days: float = 1.0) -> None:
    """Files that expire at one time, beside one that never does."""
    add(server, "kept")
    for number in range(MANY):
        add(server, f"f{number}", expires_in_s=int(days * DAY_S))


def _all_over(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"data": [file | {"expires_at": "2026-01-01T00:00:00Z"} for file in page["data"]]}


def _held(host: Host) -> int:
    return host.parts.meta.facts.expiries_held


async def test_r4_what_was_foreseen_expires_however_much_it_is(tmp_path: Path, server: Server, clock: Clock) -> None:
    _many(server)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.passed_s = DAY_S + 60.0
        await host.walk()
        assert (host.ls(), _held(host)) == (["kept"], 0)


async def test_r4_over_the_end_of_a_mount_too(tmp_path: Path, server: Server, clock: Clock) -> None:
    _many(server)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
    time.passed_s = DAY_S + 60.0
    async with machine(tmp_path, server, working=False, machine=time.machine("started again")) as host:
        await host.walk()
        assert (host.ls(), _held(host)) == (["kept"], 0)


@pytest.mark.parametrize("said", [YEAR_2200, "Fri, 31 Dec 9999 23:59:59 GMT", "Sat, 01 Jan 2028 00:00:00 +0000"])
async def test_s1_a_date_far_ahead_in_some_replies_expires_nothing(
    tmp_path: Path, server: Server, clock: Clock, said: str
) -> None:
    _many(server, 30.0)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.said = said
        await walks(host, 3)
        assert len(host.ls()) == MANY + 1
        time.said = None
        await host.walk()
        assert (len(host.ls()), _held(host)) == (MANY + 1, 0)


async def test_s1_a_date_far_ahead_in_all_replies_is_held_until_a_person_has_looked(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    _many(server, 30.0)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.service_wrong_s = 60 * DAY_S
        await host.walk()
        time.passed_s = STEP_AFTER_NS / 1e9 + 1.0
        await walks(host, 2)
        assert (len(host.ls()), _held(host)) == (MANY + 1, MANY)
        assert (await commands(host).trash.accept_removals(Nothing(), quietly)).count == MANY
        assert (host.ls(), _held(host)) == (["kept"], 0)


async def test_s1_once_the_date_is_right_again_nothing_is_held(tmp_path: Path, server: Server, clock: Clock) -> None:
    _many(server, 30.0)
    time = Time(server)
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.service_wrong_s = 60 * DAY_S
        await host.walk()
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await host.walk()
        assert _held(host) == MANY
        time.service_wrong_s = 0.0
        await host.walk()
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await host.walk()
        assert (len(host.ls()), _held(host)) == (MANY + 1, 0)
        time.passed_s += 31 * DAY_S
        await host.walk()
        assert (host.ls(), _held(host)) == (["kept"], 0), "what was listed since then is foreseen again"


async def test_s1_a_listing_in_which_all_has_expired_is_held(tmp_path: Path, server: Server, clock: Clock) -> None:
    _many(server, 30.0)
    async with machine(tmp_path, server, working=False, machine=Time(server).machine()) as host:
        await host.walk()
        rule = server.script.add(EditJson(_all_over), op="list", times=None)
        await walks(host, 3)
        assert (len(host.ls()), _held(host)) == (MANY + 1, MANY + 1)
        server.script.remove(rule)
        await host.walk()
        assert (len(host.ls()), _held(host)) == (MANY + 1, 0)


async def test_s1_without_a_clock_of_the_service_nothing_is_foreseen(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    _many(server)
    time = Time(server)
    server.script.date = lambda: None
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.passed_s = DAY_S + 60.0
        await walks(host, 2)
        assert (len(host.ls()), _held(host)) == (MANY + 1, MANY)


async def test_s1_a_wall_clock_ahead_expires_nothing(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Also where the service tells no time: of our clocks the earlier counts."""
    _many(server, 30.0)
    time = Time(server)
    server.script.date = lambda: None
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.wall_wrong_s = 40 * DAY_S
        await walks(host, 2)
        assert (len(host.ls()), _held(host)) == (MANY + 1, 0)


async def test_s1_few_expire_without_having_been_foreseen(tmp_path: Path, server: Server, clock: Clock) -> None:
    for number in range(MANY):
        add(server, f"kept{number}")
    add(server, "f", expires_in_s=3600)
    time = Time(server)
    server.script.date = lambda: None
    async with machine(tmp_path, server, working=False, machine=time.machine()) as host:
        await host.walk()
        time.passed_s = 3700.0
        await host.walk()
        assert len(host.ls()) == MANY + 1, "one listing may be odd"
        await host.walk()
        assert (len(host.ls()), _held(host)) == (MANY, 0)


async def test_s4_one_odd_listing_expires_nothing_and_two_apart_neither(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server, machine=Time(server).machine()) as host:
        await host.write("f", b"precious")
        await host.settled()
        for _ in range(3):
            server.script.add(EditJson(_all_over), op="list", times=1)
            await host.walk()
            await host.walk()
        assert (host.ls(), host.parts.trash.entries(), _held(host)) == (["f"], [], 0)


# -- the trash


def _without_f(page: dict[str, Any]) -> dict[str, Any]:
    return page | {"data": [file for file in page["data"] if file["filename"] != "f"]}


def _f_over(page: dict[str, Any]) -> dict[str, Any]:
    over = {"expires_at": "2026-01-01T00:00:00Z"}
    return page | {"data": [file | over if file["filename"] == "f" else file for file in page["data"]]}


@pytest.mark.parametrize("odd", [_f_over, _without_f])
async def test_s4_what_is_listed_again_after_odd_listings_has_its_bytes_again(
    tmp_path: Path, server: Server, clock: Clock, odd: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        add(server, "kept")
        await host.write("f", b"precious")
        await host.settled()
        await walks(host)
        rule = server.script.add(EditJson(odd), op="list", times=None)
        await walks(host)
        assert "f" not in host.ls()
        assert len(host.parts.trash.entries()) == 1
        server.script.remove(rule)
        await walks(host)
        assert await host.read("f") == b"precious"
        assert host.parts.trash.entries() == []
        assert host.parts.content.is_pinned(host.id("f"))
    async with machine(tmp_path, server, machine=time.machine()) as host:
        assert await host.read("f") == b"precious"
        assert await check_state(host.parts) == []


async def _trashed(host: Host, server: Server) -> None:
    """A file of ours that went to the trash."""
    add(server, "kept")
    await host.write("f", b"precious")
    await host.settled()
    server.store.delete(host.id("f"))
    await walks(host)
    assert len(host.parts.trash.entries()) == 1


async def test_s2_the_trash_is_emptied_after_its_days_by_all_clocks(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await _trashed(host, server)
        time.passed_s = 29 * DAY_S
        await host.walk()
        assert len(host.parts.trash.entries()) == 1
    time.passed_s = 31 * DAY_S
    async with machine(tmp_path, server, machine=time.machine("started again")) as host:
        await host.walk()
        assert host.parts.trash.entries() == []


@pytest.mark.parametrize("wrong", ["wall_wrong_s", "service_wrong_s"])
@pytest.mark.parametrize("boot_id", ["this run of the machine", "started again"])
async def test_s2_one_wrong_clock_empties_no_trash(
    tmp_path: Path, server: Server, clock: Clock, wrong: str, boot_id: str
) -> None:
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await _trashed(host, server)
        setattr(time, wrong, 40 * DAY_S)
        await walks(host, 2)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(host, 2)
        assert len(host.parts.trash.entries()) == 1
    async with machine(tmp_path, server, machine=time.machine(boot_id)) as host:
        await walks(host, 2)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(host, 2)
        setattr(time, wrong, 0.0)
        await walks(host, 2)
        assert len(host.parts.trash.entries()) == 1


async def test_s2_a_clock_of_the_service_that_comes_back_to_the_truth_empties_no_trash(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """It was 400 days behind, and comes back while the machine starts again with a clock that is years ahead."""
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await _trashed(host, server)
        time.service_wrong_s = -400 * DAY_S
        await walks(host, 2)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(host, 2)
    time.service_wrong_s, time.wall_wrong_s = 0.0, 4_000 * DAY_S
    async with machine(tmp_path, server, machine=time.machine("started again")) as host:
        await walks(host, 2)
        time.passed_s += STEP_AFTER_NS / 1e9 + 1.0
        await walks(host, 2)
        assert len(host.parts.trash.entries()) == 1


async def test_s2_what_an_older_version_put_there_has_its_days_from_now_on(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    time = Time(server)
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await _trashed(host, server)
        [record] = (host.state_dir / "trash").glob("*.json")
        record.write_bytes(record.read_bytes().replace(b'"aged_ns"', b'"unknown"'))
        time.passed_s = 29 * DAY_S
        await host.walk()
        time.passed_s = 58 * DAY_S
        await host.walk()
        assert [entry.path for entry in host.parts.trash.entries()] == ["f"]
        time.passed_s = 60 * DAY_S
        await host.walk()
        assert host.parts.trash.entries() == []


# -- told before (M3)


async def test_m3_the_log_tells_of_each_file_a_day_before_and_once(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time(server)
    add(server, "soon", expires_in_s=int(0.5 * DAY_S))
    add(server, "later", expires_in_s=int(2.5 * DAY_S))
    add(server, "much later", expires_in_s=int(9 * DAY_S))
    add(server, "never")
    told: list[list[str]] = []

    def look(host: Host) -> None:
        caplog.clear()
        host.parts.expiry_notices.look()
        names = [record.getMessage().partition(" expires at ")[0] for record in caplog.records]
        told.append([name for name in names if name in {"soon", "later", "much later", "never"}])

    async with machine(tmp_path, server, machine=time.machine()) as host:
        await host.walk()
        look(host)
        look(host)
        assert host.parts.expiry_notices.soon().count == 1
        assert host.parts.expiry_notices.soon().path == "soon"
        time.passed_s += 2 * DAY_S
        await host.walk()
        look(host)
        assert host.parts.expiry_notices.soon().path == "later"
    async with machine(tmp_path, server, machine=time.machine()) as host:
        await host.walk()
        look(host)
    assert told == [["soon"], [], ["later"], []]


async def test_m3_very_many_are_told_of_in_few_lines(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(130):
        add(server, f"{number}", expires_in_s=7200)
    async with machine(tmp_path, server) as host:
        await host.walk()
        caplog.clear()
        host.parts.expiry_notices.look()
        assert host.parts.expiry_notices.soon().count == 130
    lines = [record.getMessage() for record in caplog.records if "expire" in record.getMessage()]
    assert len(lines) == 101
    assert lines[-1].startswith("30 more files expire by")
