"""S1: another service at the same state folder changes nothing here and is changed by nothing from here."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from remotefs.errors import AccountError, RefusedError
from tests.faults import FaultyServer, Reply, faulty_server
from tests.parts import running
from tests.upkeep.support import add, walks

Server, Clock = FaultyServer, trio.abc.Clock
NAMES = frozenset({"anthropic-organization-id", "anthropic-workspace-id"})


@pytest.mark.parametrize(("before", "after"), [(NAMES, NAMES), (NAMES, frozenset()), (frozenset(), NAMES)])
async def test_s1_another_address_that_cannot_show_that_it_is_the_same_is_refused(
    tmp_path: Path, server: Server, clock: Clock, before: frozenset[str], after: frozenset[str]
) -> None:
    server.script.hidden = before
    async with running(tmp_path, server) as host:
        for number in range(15):
            await host.write(f"f{number}", b"precious")
        host.unlink("f0")
    with faulty_server(tmp_path / "elsewhere") as other:
        other.script.hidden = after
        add(other, "theirs")
        async with running(tmp_path, other, working=False) as host:
            for _ in range(3):
                with pytest.raises(AccountError, match="--state-dir"):
                    await host.walk()
            await host.start_working(greeting=False)
            host.make_due()
            await trio.sleep(60)
            assert (other.script.count("delete"), other.script.count("upload")) == (0, 0)
            assert host.ls() == sorted(f"f{number}" for number in range(1, 15))
            assert host.parts.trash.entries() == []
            assert "belongs to" in (host.parts.connectivity.suspended or "")


async def test_s1_a_service_that_begins_to_name_its_account_is_followed(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.script.hidden = NAMES
    async with running(tmp_path, server) as host:
        await host.write("f", b"x")
    server.script.hidden = frozenset()
    async with running(tmp_path, server) as host:
        await host.walk()
        assert host.parts.meta.facts.organization == server.store.organization_id
    # From now on it may move.
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as moved:
        async with running(tmp_path, moved) as host:
            await walks(host, 2)
            assert host.ls() == ["f"]
            assert host.parts.meta.facts.base_url == moved.url


async def test_s1_a_refusal_does_not_show_whose_files_a_service_has(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Nothing may be sent for it: the next request would be a DELETE at a service that nobody knows."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("a", b"x")
        await host.confirm("a", "file_ours")
        host.unlink("a")
        await host.write("b", b"x")
    with faulty_server(tmp_path / "elsewhere") as other:
        other.script.hidden = NAMES
        async with running(tmp_path, other, working=False) as host:
            other.script.add(Reply(400), op="list", times=None)
            for _ in range(3):
                with pytest.raises(RefusedError):
                    await host.walk()
            await host.start_working(greeting=False)
            host.make_due()
            await trio.sleep(60)
            assert (other.script.count("delete"), other.script.count("upload")) == (0, 0)
            assert not host.parts.connectivity.is_up
            await host.nursery.start(host.parts.refresh.run)
            before = other.script.count("list")
            await trio.sleep(300)
            assert 0 < other.script.count("list") - before < 30, "it is asked again, ever more rarely"
