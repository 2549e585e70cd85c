"""The queue: what it starts and when, what it keeps, what those who wait are told (W2, W10, A3)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from remotefs.clocks import Machine, boot_ns
from remotefs.data.writeback.close_wait import Outcome
from remotefs.data.writeback.drainer import Left
from remotefs.errors import AccountError, OutOfSpace, RateLimited, RefusedError, Unreachable
from remotefs.store.records import NEVER_NS
from tests.faults import Drop, FaultyServer, Hold, HoldReply, Reply
from tests.parts import FOR_EVER_S, running

Server = FaultyServer
Clock = trio.abc.Clock


async def test_a_wait_for_what_is_not_pending_is_done_at_once(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        assert await host.parts.close_wait.wait(host.stat("a").ino, 0.0) is Outcome.DONE


async def test_a_wait_is_pending_when_the_budget_comes_too_late(tmp_path: Path, server: Server, clock: Clock) -> None:
    """W2: the budget's ETA is longer than the wait."""
    async with running(tmp_path, server, durability="local") as host:
        await host.write("warm", b"x")
        host.parts.budget.on_rate_limited(100.0)
        await host.write("a", b"x")
        began = trio.current_time()
        assert await host.parts.close_wait.wait(host.stat("a").ino, 10.0) is Outcome.PENDING
        assert trio.current_time() == began
        assert host.xattr("a", "state") in {"pending", "uploading"}
        await host.settled()
        assert host.remote_names() == ["a", "warm"]


async def test_nothing_is_sent_while_suspended(tmp_path: Path, server: Server, clock: Clock) -> None:
    """S1."""
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", b"x")
        await host.settled()
        host.parts.connectivity.suspend(AccountError("another account answers"))
        before = server.script.count()
        host.unlink("a")
        await host.write("b", b"x")
        host.make_due()
        left = await host.parts.drainer.drain(100.0)
        assert (server.script.count(), len(left)) == (before, 2)


async def test_a3_a_drain_makes_everything_due_and_tells_what_is_left(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    told: list[Left] = []
    async with running(tmp_path, server, durability="local", upload_delay_s=1e6, empty_grace_s=1e6) as host:
        await host.write("a", b"x")
        await host.write("empty", b"")
        await trio.sleep(100)
        assert host.stored() == []
        assert await host.parts.drainer.drain(FOR_EVER_S, report=told.append) == []
        assert host.remote_names() == ["a", "empty"]
        assert (told[0].intents, told[0].requests) == (2, 2)


async def test_a3_a_drain_does_not_wait_for_successors_of_what_was_removed(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, delete_wait_s=1e6) as host:
        await host.write("a", b"x")
        host.unlink("a")
        await trio.sleep(100)
        assert host.remote_names() == ["a"]
        assert await host.parts.drainer.drain(FOR_EVER_S) == []
        assert host.stored() == []


async def test_a3_a_drain_ends_in_time(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(Hold(), op="upload")
        await host.write("a", b"x")
        began = trio.current_time()
        (left,) = await host.parts.drainer.drain(30.0)
        assert (left.ino, trio.current_time() - began) == (host.stat("a").ino, pytest.approx(30.0))
        held.release()
        await host.settled()


async def test_a3_a_drain_for_a_signal_does_not_wait_for_what_is_being_written(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("log", b"x")
        log, new = await host.open("log", os.O_WRONLY), await host.open("new", os.O_WRONLY | os.O_CREAT)
        for handle in (log, new):
            await host.fs.files.write(handle.fh, 0, b"yy")
        began = trio.current_time()
        left = await host.parts.drainer.drain(30.0, leaves_open=True)
        assert trio.current_time() - began < 5.0
        assert {intent.ino for intent in left} == {log.ino, new.ino}
        await host.close(log)
        await host.close(new)


async def test_a_drain_of_some_files_waits_for_those_alone(tmp_path: Path, server: Server, clock: Clock) -> None:
    """`remotefs flush PATH`."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(Hold(), op="upload", times=1)
        await host.write("slow", b"x")
        await held.until_hit()
        await host.write("quick", b"x")
        assert await host.parts.drainer.drain(FOR_EVER_S, [host.stat("quick").ino]) == []
        assert len(host.pending()) == 1
        held.release()
        await host.settled()


async def test_no_more_uploads_at_once_than_workers(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local", upload_workers=2) as host:
        held = server.script.add(HoldReply(), op="upload", times=None)
        for name in "abcde":
            await host.write(name, b"x")
        await trio.sleep(50)
        assert host.parts.writeback.statistics().running == 2
        assert host.parts.writeback.statistics().uploads == 5
        held.release()
        await host.settled()
        assert host.remote_names() == list("abcde")


async def test_what_a_close_waits_for_goes_before_what_is_queued(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, upload_workers=1, working=False, durability="local") as host:
        for name in "abc":
            await host.write(name, b"x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.parts.close_wait.wait, host.stat("c").ino, FOR_EVER_S)
            host.parts.connectivity.up()
            await trio.lowlevel.checkpoint()
            await host.start_working()
        assert "c" in host.remote_names()
        await host.settled()
        assert [record.filename for record in host.stored()][-1] == "c"


async def test_deletes_go_while_uploads_are_stuck(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, upload_workers=1, durability="local") as host:
        await host.write("gone", b"x")
        await host.settled()
        held = server.script.add(Hold(), op="upload")
        await host.write("a", b"x")
        await held.until_hit()
        host.unlink("gone")
        await host.until(lambda: host.stored() == [])
        held.release()
        await host.settled()


async def test_w10_an_empty_file_that_is_still_open_is_not_sent(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Create, then write: one upload."""
    async with running(tmp_path, server) as host:
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        host.make_due()
        await trio.sleep(60)
        assert server.script.count("upload") == 0
        await host.fs.files.write(handle.fh, 0, b"x")
        await host.close(handle)
        assert (server.script.count("upload"), host.remote_bytes("a")) == (1, [b"x"])


async def test_a_refusal_is_shown_until_it_is_cured(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        rule = server.script.add(Reply(400), op="upload", times=None)
        await host.write("a", b"x")
        ino = host.stat("a").ino
        await host.until(lambda: host.parts.failures.refusal(ino) is not None)
        assert host.xattr("a", "state").startswith("failed: ")
        assert host.parts.writeback.statistics().failed == 1
        (intent,) = host.pending()
        assert (host.parts.intents.paths.describe(intent), "400" in (intent.reason or "")) == ("a", True)
        server.script.remove(rule)
        await host.settled()
        assert host.parts.failures.refusal(ino) is None
        assert host.parts.writeback.statistics().failed == 0


async def test_a_new_content_may_be_taken_where_the_last_was_refused(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        server.script.add(Reply(413), op="upload")
        with pytest.raises(RefusedError):
            await host.write("a", b"too large")
        await host.write("a", b"small")
        assert host.remote_bytes("a") == [b"small"]


async def test_a_transient_failure_is_no_refusal(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Close waits on, and the file gets there."""
    async with running(tmp_path, server) as host:
        server.script.add(Reply(500), op="upload", times=2)
        server.script.add(Drop(0), op="upload")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.write, "a", b"x")
            await host.until(lambda: bool(host.pending()))
            await host.settled()
        assert host.remote_bytes("a") == [b"x"]


async def test_rate_limits_are_waited_for(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        server.script.add(Reply(429, headers={"retry-after": "30"}), op="upload", times=3)
        await host.write("a", b"x")
        await host.settled()
        assert host.remote_names() == ["a"]
        assert host.parts.failures.refusal(host.stat("a").ino) is None
    assert issubclass(RateLimited, RefusedError)


async def test_a_full_backlog_is_said_by_write(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local", backlog_intents=2) as host:
        for name in "abc":
            await host.close(await host.open(name, os.O_WRONLY | os.O_CREAT))
        with pytest.raises(OutOfSpace, match="remotefs status"):
            await host.write("d", b"x")
        host.mkdir("names are never refused")
        host.unlink("a")


async def test_labels_say_what_an_intent_is_about(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        host.mkdir("d")
        await host.write("d/a", b"x")
        await host.confirm("d/a", "file_a")
        host.rename("d/a", "b")
        assert [host.parts.intents.paths.describe(intent) for intent in host.pending()] == ["b"]
        host.unlink("b")
        assert [host.parts.intents.paths.describe(intent) for intent in host.pending()] == ["file_a"]
        assert host.parts.writeback.statistics().deletes == 1


async def test_a2_work_goes_on_when_the_service_is_back(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        host.parts.connectivity.down(Unreachable("no route"))
        for name in "abc":
            await host.write(name, name.encode())
        assert await host.read("b") == b"b"
        assert host.stored() == []
        await host.walk()
        await host.settled()
        assert host.remote_names() == list("abc")


async def test_a_wall_clock_that_is_set_back_or_ahead_makes_no_upload_sleep(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was closed by another wrong clock; all have their ordinary wait, in this run."""
    true = time.time_ns
    async with running(tmp_path, server, durability="local", upload_delay_s=0.2) as host:
        for name, hours in (("ahead", 2), ("back", -2), ("far", 24 * 365 * 200)):
            monkeypatch.setattr(time, "time_ns", lambda hours=hours: true() + hours * 3600 * 10**9)
            await host.write(name, b"x")
        monkeypatch.setattr(time, "time_ns", true)
        await host.until(lambda: len(host.stored()) == 3)
        assert host.remote_names() == ["ahead", "back", "far"]


async def test_due_times_of_an_earlier_run_whose_clock_was_wrong_hold_nothing_up(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Uploads and failures that were put off until hours from now are due within what they would wait at most."""
    async with running(tmp_path, server, durability="local", working=False) as host:
        for name in ("plain", "failed", "open"):
            await host.write(name, b"x")
        handle = await host.open("open", os.O_WRONLY)
        await host.fs.files.write(handle.fh, 0, b"y")
        later_ns = time.time_ns() + 48 * 3600 * 10**9
        for intent in host.pending():
            if intent.due_ns != NEVER_NS:
                host.parts.journal.reschedule(intent.seq, due_ns=later_ns)
        failed = host.intent("failed")
        assert failed is not None
        host.parts.journal.failed(failed.seq, "the service answered 503", due_ns=later_ns)
        host.kill_copy("again")
    longest_ns = 30 * 10**9
    async with running(tmp_path, server, state="again", durability="local", working=False) as host:
        now = host.parts.clock()
        assert len(host.pending()) == 3
        assert all(intent.due_ns - now <= longest_ns for intent in host.pending())


async def test_uploads_that_are_due_after_a_suspend_go_then(tmp_path: Path, server: Server, clock: Clock) -> None:
    """The clock of waits went on for an hour, trio's stood still."""
    slept_ns = 0
    machine = Machine(boot=lambda: boot_ns() + slept_ns)
    async with running(tmp_path, server, durability="local", upload_delay_s=3000.0, machine=machine) as host:
        await host.write("a", b"x")
        await trio.sleep(200.0)
        assert host.stored() == []
        slept_ns = 3600 * 10**9
        await trio.sleep(61.0)
        await host.settled()
        assert host.remote_names() == ["a"]
