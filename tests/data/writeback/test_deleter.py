"""Nothing is deleted that should not be (S1, S3, S5): the decision over all facts, then whole stories."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from remotefs.config import Config, Secret
from remotefs.data.writeback.close_wait import Outcome
from remotefs.data.writeback.deleter import DeletionFacts, RemoteDeleter, Verdict, decide
from remotefs.errors import AccountError, TooLarge, Unreachable
from remotefs.store.records import NEVER_NS, Origin
from tests.between import Between, at_every_step
from tests.faults import KEY, Drop, FaultyServer, HoldReply, LostReply, Reply, faulty_server
from tests.parts import FOR_EVER_S, Host, running

FACTS = st.builds(DeletionFacts)
OTHERS = {"anthropic-organization-id": "org-of-somebody-else"}


# -- the decision


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_s3_a_foreign_id_that_nobody_here_gave_up_is_never_deleted(facts: DeletionFacts) -> None:
    if facts.origin != Origin.OURS and not facts.tombstoned:
        assert decide(facts) is Verdict.DROP


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_s5_an_id_that_is_referred_to_is_never_deleted(facts: DeletionFacts) -> None:
    if facts.referred:
        assert decide(facts) is Verdict.DROP


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_s1_nothing_is_deleted_in_an_account_that_is_not_trusted(facts: DeletionFacts) -> None:
    if not facts.account_trusted:
        assert decide(facts) is not Verdict.SEND


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_s5_while_its_replacement_is_written_an_id_stays(facts: DeletionFacts) -> None:
    if facts.replacement_open:
        assert decide(facts) is not Verdict.SEND


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_an_unknown_id_is_never_deleted(facts: DeletionFacts) -> None:
    if not facts.known:
        assert decide(facts) is Verdict.DROP


@settings(deadline=None, max_examples=50)
@given(FACTS)
def test_what_only_waits_is_sent_once_nothing_is_in_its_way(facts: DeletionFacts) -> None:
    if decide(facts) is Verdict.WAIT:
        freed = DeletionFacts(True, facts.known, facts.origin, facts.tombstoned, facts.referred, replacement_open=False)
        assert decide(freed) is Verdict.SEND


@pytest.mark.parametrize("origin", Origin)
def test_what_the_user_gave_up_is_deleted_whoever_made_it(origin: Origin) -> None:
    facts = DeletionFacts(True, True, origin, tombstoned=True, referred=False, replacement_open=False)
    assert decide(facts) is Verdict.SEND


# -- stories


async def test_s3_unlink_deletes_that_id_and_no_other(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    kept = server.store.add("a", b"theirs", downloadable=False).id
    async with running(tmp_path, server) as host:
        await host.write("a", b"ours")
        await host.write("b", b"ours")
        await host.walk()
        mine = host.id("a")
        host.unlink("a")
        await host.settled()
        assert host.remote_ids() == {kept, host.id("b")}
        assert [request.path for request in server.script.requests("delete")] == [f"/v1/files/{mine}"]


async def test_s3_a_foreign_file_goes_when_the_user_unlinks_it(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    server.store.add("d／theirs", b"x", downloadable=False)
    async with running(tmp_path, server) as host:
        await host.walk()
        host.unlink("d/theirs")
        await host.settled()
        assert host.stored() == []
        await host.walk()
        assert host.ls("d") == []


async def test_s3_a_delete_of_a_foreign_file_that_nobody_asked_for_is_dropped(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    theirs = server.store.add("theirs", b"x", downloadable=False).id
    async with running(tmp_path, server) as host:
        await host.walk()
        host.parts.journal.put_delete(theirs, due_ns=0)
        await host.settled()
        assert server.script.count("delete") == 0
        assert host.remote_ids() == {theirs}


async def test_s5_a_shown_file_is_not_deleted_though_a_row_asks_for_it(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        host.parts.journal.put_delete(host.id("a"), due_ns=0)
        await host.settled()
        assert server.script.count("delete") == 0


async def test_s5_the_old_id_stays_while_a_write_handle_of_its_replacement_is_open(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"old")
        old = host.id("a")
        handle = await host.open("a", os.O_RDWR | os.O_TRUNC)
        await host.fs.files.write(handle.fh, 0, b"new")
        await host.fs.files.flush(handle.fh)
        assert host.id("a") != old
        host.make_due()
        await trio.sleep(10)
        assert old in host.remote_ids()
        await host.close(handle)
        await host.settled()
        assert host.remote_ids() == {host.id("a")}


async def test_s5_what_a_long_writer_gave_up_is_not_looked_at_until_it_closes(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """As a log that a program holds open for days, while children of it close their copies of the descriptor."""
    async with running(tmp_path, server) as host:
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        for number in range(5):
            await host.fs.files.write(handle.fh, 0, b"%d" % number)
            await host.fs.files.flush(handle.fh)
            await host.until(lambda wanted=number: len(host.stored()) == wanted + 1)
        await trio.sleep(10)
        assert [intent.due_ns for intent in host.pending()] == [NEVER_NS] * 4
        state = host.kill_copy("killed")
        assert await host.parts.drainer.drain(30.0, leaves_open=True) == host.pending()
        await host.close(handle)
        await host.until(lambda: host.remote_ids() == {host.id("a")})
    async with running(tmp_path, server, state=state.name) as host:
        await host.settled()


# -- removed, and made again before the DELETE went out (W5)


@asynccontextmanager
async def delete_begun(host: Host) -> AsyncIterator[None]:
    """The one DELETE that is asked for is decided and waits for the disk; the block acts before its request goes out."""
    parts = host.parts
    deleter = RemoteDeleter(
        parts.store,
        parts.client,
        parts.connectivity,
        parts.handles,
        parts.in_flight,
        parts.intents.left_behind,
        parts.clock,
    )
    (intent,) = host.pending()
    assert decide(deleter.facts(intent)) is Verdict.SEND
    with Between("carry_out", 1, lambda: None) as steps:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deleter.carry_out, intent)
            while not steps.seen:
                await trio.lowlevel.checkpoint()
            yield


async def test_w5_removed_and_made_again_the_old_stays_until_the_new_has_come(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"old")
        old = host.id("a")
        server.script.add(Reply(413), op="upload")
        host.unlink("a")
        with pytest.raises(TooLarge):
            await host.write("a", b"new")
        assert host.remote_ids() == {old}
        await host.settled()
        assert host.remote_bytes("a") == [b"new"]
        assert [request.op for request in server.script.requests()][-2:] == ["upload", "delete"]


async def test_w5_so_it_is_after_a_kill(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"old")
        held = server.script.add(Drop(1), op="upload", times=None)
        host.unlink("a")
        host.parts.connectivity.down(Unreachable("no network"))
        await host.write("a", b"new")
        host.kill_copy("after")
    server.script.remove(held)
    before = server.script.count()
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert host.remote_bytes("a") == [b"new"]
        assert [request.op for request in server.script.requests()[before:]] == ["list", "upload", "delete"]


async def test_w5_a_delete_under_way_is_not_taken_back(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, delete_wait_s=0.0) as host:
        await host.write("a", b"old")
        held = server.script.add(HoldReply(), op="delete")
        host.unlink("a")
        await held.until_hit()
        await host.write("a", b"new")
        held.release()
        await host.settled()
        assert host.remote_bytes("a") == [b"new"]
        assert server.script.count("delete") == 1


async def test_w5_a_successor_that_comes_right_before_the_request_stops_it(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("a", b"old")
        await host.confirm("a", "file_a")
        host.unlink("a")
        async with delete_begun(host):
            await host.write("a", b"new")
        assert (server.script.count("delete"), host.deletes()) == (0, set())


async def test_a_file_that_is_gone_already_counts_as_deleted(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        server.store.delete(host.id("a"))
        host.unlink("a")
        await host.settled()
        assert server.script.count("delete") == 1


async def test_a_lost_reply_to_a_delete_is_asked_for_again(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        lost = server.script.add(LostReply(), op="delete")
        host.unlink("a")
        await host.settled()
        assert (lost.hits, host.stored()) == (1, [])


async def test_a_refused_delete_is_kept_and_says_why(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        rule = server.script.add(Reply(409), op="delete", times=None)
        host.unlink("a")
        await host.until(lambda: any(intent.reason for intent in host.pending()))
        (intent,) = host.pending()
        assert "409" in (intent.reason or "")
        assert len(host.stored()) == 1
        server.script.remove(rule)
        await host.settled()
        assert host.stored() == []


async def test_the_decision_is_made_again_right_before_the_request(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """While the disk syncs what is known may change."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("a", b"x")
        await host.confirm("a", "file_a")
        host.unlink("a")
        async with delete_begun(host):
            host.parts.connectivity.suspend(AccountError("another account answers"))
        assert server.script.count("delete") == 0
        assert host.deletes() == {"file_a"}


@asynccontextmanager
async def delete_waits_for_the_budget(host: Host) -> AsyncIterator[None]:
    """The DELETE of `a` is decided and waits for its turn; the block acts, and then its turn comes."""
    await host.walk()
    await host.write("a", b"old")
    await host.confirm("a", "file_a")
    host.parts.budget.on_rate_limited(300.0)
    await host.start_working(greeting=False)
    host.unlink("a")
    host.make_due()
    await host.until(lambda: host.parts.budget.statistics().waiting.get("delete", 0) == 1, tries=100)
    yield
    await trio.sleep(400.0)


async def test_w5_a_delete_that_waits_for_its_turn_is_taken_over_by_a_successor(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    server.script.add(Reply(404), op="delete", times=None)
    async with running(tmp_path, server, working=False, durability="local", delete_wait_s=0.0) as host:
        async with delete_waits_for_the_budget(host):
            await host.write("a", b"new")
        await host.settled()
        assert [request.op for request in server.script.requests()][-2:] == ["upload", "delete"]


async def test_s1_a_delete_that_waits_for_its_turn_is_not_sent_to_another_account(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local", delete_wait_s=0.0) as host:
        async with delete_waits_for_the_budget(host):
            host.parts.connectivity.suspend(AccountError("another account answers"))
        assert (server.script.count("delete"), host.deletes()) == (0, {"file_a"})


async def test_s1_a_delete_is_not_tried_again_once_another_account_answers(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        failed = server.script.add(Reply(500, headers={"retry-after": "50"}), op="delete")
        host.unlink("a")
        await failed.until_hit()
        await trio.sleep(5.0)
        host.parts.connectivity.suspend(AccountError("another account answers"))
        await trio.sleep(100.0)
        assert (server.script.count("delete"), len(host.deletes()), len(host.stored())) == (1, 1, 1)


async def suspend_at(folder: Path, server: FaultyServer, nth: int) -> int:
    """Another account shows at the nth step of the task of a DELETE; return how many steps it had."""
    async with running(folder, server, delete_wait_s=0.0) as host:
        await host.write("a", b"x")
        await host.settled()
        # The next request needs a connection of its own.
        await host.parts.client._exchange._http._transport.aclose()
        [mine] = host.remote_ids()
        was_sent: list[bool] = []

        def act() -> None:
            was_sent.append(host.parts.in_flight.is_deleting(mine) or mine not in host.remote_ids())
            host.parts.connectivity.suspend(AccountError("another account answers"))

        with Between("Workers._carry_out", nth, act) as between:
            host.unlink("a")
            await trio.sleep(30.0)
        assert server.script.count("delete") == (0 if was_sent == [False] else 1)
        return between.seen


async def test_the_decision_is_made_again_at_every_step_up_to_the_first_byte(
    tmp_path: Path, clock: trio.abc.Clock
) -> None:
    steps: list[int] = []

    async def act(folder: Path, server: FaultyServer, nth: int) -> int:
        steps.append(await suspend_at(folder, server, nth))
        return steps[-1]

    await at_every_step(tmp_path, act)
    assert max(steps) > 5


# -- whose account it is (S1)


async def test_s1_another_key_of_the_same_account_goes_on(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
    async with running(tmp_path, server, change=_with_token) as host:
        host.unlink("a")
        await host.settled()
        assert host.stored() == []
        assert server.script.requests("delete")[0].headers["authorization"] == f"Bearer {KEY}"


async def test_s1_another_account_at_the_start_stops_all_intents(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        await host.write("a", b"x")
        await host.confirm("a", "file_ours")
        await host.write("b", b"x")
        host.unlink("a")
    with faulty_server(tmp_path / "elsewhere") as other:
        async with running(tmp_path, other, working=False) as host:
            with pytest.raises(AccountError, match="--state-dir"):
                await host.walk()
            await host.start_working(greeting=False)
            host.make_due()
            await trio.sleep(60)
            assert (other.script.count("delete"), other.script.count("upload")) == (0, 0)
            statistics = host.parts.connectivity.statistics()
            assert not statistics.online
            assert "belongs to organization" in (statistics.suspended or "")
    assert not list((tmp_path / "elsewhere" / "files").iterdir())


async def test_s1_nothing_is_sent_before_the_service_has_shown_whose_it_is(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """A2: after a start without the network."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"x")
        await host.start_working(greeting=False)
        host.make_due()
        await trio.sleep(100)
        assert server.script.count() == 0
        await host.walk()
        await host.settled()
        assert host.remote_names() == ["a"]


async def test_s1_another_account_in_the_middle_of_a_run_stops_all_intents(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        await host.write("b", b"x")
        page = b'{"data": [], "next_page": null}'
        server.script.add(Reply(200, page, OTHERS | {"content-type": "application/json"}), op="list", times=None)
        with pytest.raises(AccountError):
            await host.walk()
        host.unlink("a")
        await host.write("b", b"changed")
        assert await host.parts.close_wait.wait(host.stat("b").ino, FOR_EVER_S) is Outcome.PENDING
        host.make_due()
        await trio.sleep(60)
        assert (server.script.count("delete"), server.script.count("upload")) == (0, 2)
        assert await host.read("b") == b"changed"
        assert "belongs to organization" in (host.parts.connectivity.suspended or "")
    server.script.clear()
    async with running(tmp_path, server) as host:
        await host.settled()
        assert host.remote_bytes("b") == [b"changed"]
        assert host.remote_names() == ["b"]


async def test_s1_a_reply_of_another_account_to_an_upload_binds_nothing(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"old")
        old = host.id("a")
        body = {"id": "file_theirs", "type": "file", "filename": "a", "mime_type": "text/plain", "size_bytes": 3}
        body |= {"created_at": "2026-01-01T00:00:00Z", "downloadable": False, "expires_at": None}
        server.script.add(Reply(200, body, OTHERS), op="upload")
        await host.write("a", b"new")
        assert host.id("a") == old
        assert host.deletes() == set()
        assert host.parts.connectivity.suspended is not None


def _with_token(config: Config) -> Config:
    service = msgspec.structs.replace(config.service, api_key=None, auth_token=Secret(KEY))
    return msgspec.structs.replace(config, service=service)


# -- what others do


async def test_s4_an_emptied_server_makes_us_delete_nothing(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        for number in range(30):
            await host.write(f"f{number}", b"x%d" % number)
        await host.walk()
        for record in host.stored():
            server.store.delete(record.id)
        for _ in range(3):
            await host.walk()
        await host.settled()
        assert server.script.count("delete") == 0
        assert len(host.ls()) == 30
        assert await host.read("f7") == b"x7"


async def test_w8_a_second_writer_of_the_same_name_is_never_deleted(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """Replaced is what the name was bound to here, never a newer twin that was not shown yet (W5)."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"first")
        theirs = server.store.add("a", b"theirs", downloadable=False).id
        await host.write("a", b"second")
        await host.settled()
        assert host.remote_ids() == {theirs, host.id("a")}
        await host.walk()
        await host.walk()
        assert len(host.ls()) == 2
        await host.write("a", b"third")
        await host.settled()
        assert theirs in host.remote_ids()


async def test_w6_a_late_commit_is_shown_and_never_deleted_by_itself(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    """The connection broke, nothing was found in time, it was sent again; then the first one appears after all."""
    async with running(tmp_path, server) as host:
        server.script.add(Drop(1 << 20), op="upload")
        await host.write("a", b"x" * 100)
        await host.settled()
        late = server.store.add("a", b"x" * 100, downloadable=False).id
        await host.walk()
        await host.settled()
        assert late in host.remote_ids()
        assert (len(host.stored()), len(host.ls()), server.script.count("delete")) == (2, 2, 0)


async def test_w9_unlinked_during_its_upload_after_all_was_sent_the_new_id_goes_too(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"x")
        await held.until_hit()
        host.unlink("a")
        assert host.ls() == []
        held.release()
        await host.settled()
        assert host.stored() == []
        assert server.script.count("delete") == 1
