"""S1: a listing that lacks too much is more likely wrong than true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from remotefs.config import RefreshConfig
from remotefs.control.messages.base import Nothing
from remotefs.data.reconcile.removal import Census, is_believable
from remotefs.errors import AccountError
from tests.commands import commands, quietly
from tests.faults import EditJson, FaultyServer, HoldReply, Reply, Rule
from tests.parts import Host
from tests.upkeep.support import add, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock
DEFAULTS = RefreshConfig()
OTHER_ACCOUNT = {"anthropic-organization-id": "org-of-somebody-else"}


@st.composite
def censuses(draw: st.DrawFn) -> Census:
    known = draw(st.integers(0, 2000))
    missing = draw(st.integers(0, known))
    return Census(known, missing, draw(st.integers(known - missing, 4000)))


@given(censuses())
def test_s1_more_than_20_and_more_than_10_percent_are_never_believed(census: Census) -> None:
    if census.missing > 20 and census.missing * 10 > census.known:
        assert not is_believable(census, DEFAULTS)


@given(censuses())
def test_s1_few_that_are_missing_are_believed(census: Census) -> None:
    if census.listed and (census.missing <= 20 or census.missing * 10 <= census.known):
        assert is_believable(census, DEFAULTS)


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_s1_nothing_where_something_was_is_never_believed(known: int, missing: int) -> None:
    assert not is_believable(Census(known, min(known, missing), 0), DEFAULTS)


@given(censuses(), st.integers(0, 100))
def test_s1_whoever_is_not_believed_is_not_when_more_is_missing(census: Census, more: int) -> None:
    worse = Census(census.known + more, census.missing + more, census.listed)
    if not is_believable(census, DEFAULTS) and census.missing > 20:
        assert not is_believable(Census(census.known, min(census.known, worse.missing), census.listed), DEFAULTS)


@asynccontextmanager
async def machine_that_lacks(folder: Path, server: Server, gone: int, *, listings: int) -> AsyncIterator[Host]:
    """A machine that knew 30 files, of which so many have been missing from that many listings."""
    ids = [add(server, f"f{number}") for number in range(30)]
    async with machine(folder, server, working=False) as host:
        await host.walk()
        for file_id in ids[:gone]:
            server.store.delete(file_id)
        await walks(host, listings)
        yield host


@pytest.mark.parametrize(("gone", "left"), [(20, 10), (21, 30)])
async def test_s1_of_30_files_20_may_go_at_once_and_no_more(
    tmp_path: Path, server: Server, clock: Clock, gone: int, left: int
) -> None:
    async with machine_that_lacks(tmp_path, server, gone, listings=4) as host:
        assert len(host.ls()) == left


async def test_s1_a_poll_that_was_begun_before_a_person_looked_holds_nothing_again(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine_that_lacks(tmp_path, server, 25, listings=1) as host:
        assert host.parts.meta.facts.removals_held == 25
        poll = server.script.add(HoldReply(), op="list")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.parts.listings.poll)
            await poll.until_hit()
            nursery.start_soon(commands(host).trash.accept_removals, Nothing(), quietly)
            await trio.sleep(5)
            poll.release()
        assert (len(host.ls()), host.parts.meta.facts.removals_held) == (5, 0)


async def test_s4_listings_that_were_begun_together_are_one(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    file_id = add(server, "late")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.delete(file_id)
        lacking = server.script.add(HoldReply(), op="list")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.walk)
            await lacking.until_hit()
            nursery.start_soon(host.parts.listings.poll)
            await trio.sleep(5)
            assert server.script.count("list") == 2
            lacking.release()


async def test_s1_what_is_held_back_is_said_and_goes_when_a_person_has_looked(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine_that_lacks(tmp_path, server, 25, listings=3) as host:
        assert host.parts.meta.facts.removals_held == 25
        assert (await commands(host).trash.accept_removals(Nothing(), quietly)).count == 25
        assert len(host.ls()) == 5
        assert host.parts.meta.facts.removals_held == 0


async def test_s1_an_emptied_account_removes_nothing_by_itself(tmp_path: Path, server: Server, clock: Clock) -> None:
    only = add(server, "only")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.store.delete(only)
        await walks(host, 3)
        for _ in range(3):
            await host.parts.listings.poll()
        assert host.ls() == ["only"]
        assert host.parts.meta.facts.removals_held == 1
        await commands(host).trash.accept_removals(Nothing(), quietly)
        assert host.ls() == []


async def test_s1_what_comes_back_is_held_back_no_longer(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "f")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        server.script.add(EditJson(lambda page: page | {"data": []}), op="list", times=5)
        await walks(host, 5)
        assert host.parts.meta.facts.removals_held == 1
        await host.walk()
        assert (host.ls(), host.parts.meta.facts.removals_held) == (["f"], 0)


async def test_s1_ones_own_removal_of_everything_is_not_held_back(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        for number in range(30):
            await host.write(f"f{number}", b"x")
        await host.settled()
        for number in range(30):
            host.unlink(f"f{number}")
        await host.settled()
        await walks(host, 2)
        assert (host.stored(), host.ls(), host.parts.meta.facts.removals_held) == ([], [], 0)


async def test_s1_a_listing_of_another_account_in_mid_run_changes_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "f")
    async with machine(tmp_path, server, working=False) as host:
        await host.walk()
        rule = _listing_of_somebody_else(server)
        for _ in range(3):
            with pytest.raises(AccountError):
                await host.walk()
        assert (host.ls(), rule.hits > 0) == (["f"], True)
        assert "belongs to organization" in (host.parts.connectivity.suspended or "")


def _listing_of_somebody_else(server: FaultyServer) -> Rule:
    page = {"data": [], "next_page": None}
    return server.script.add(Reply(200, page, OTHER_ACCOUNT), op="list", times=None)
