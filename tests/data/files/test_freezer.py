"""A file that changes more often than its upload takes gets to the service all the same (W4)."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import FlushParams, PathParams
from remotefs.errors import OutOfSpace, StateUnusable, TransportError, Unreachable
from remotefs.fuse.translate import errno_of
from remotefs.store.records import ContentState, Origin
from tests.between import Between, at_every_step
from tests.commands import commands, quietly
from tests.data.files.test_staging import small_disk
from tests.failing import failing
from tests.faults import Action, FaultyServer, Hold, HoldReply, LostReply, Reply, Rule
from tests.parts import LARGE, Host, rows_that_cannot_be_written, running

Server = FaultyServer
Clock = trio.abc.Clock

# Where each version has its number: a mixture of two has two.
_MARKS = (0, LARGE // 2, LARGE - 8)
PAUSE_S = 30.0
# Changes of inode rows: to being written.
DIRTIED = f"NEW.state = {ContentState.DIRTY:d}"


class Changing:
    """A large file `log` that is written and closed again and again."""

    def __init__(self, host: Host, server: Server) -> None:
        self.host = host
        self.server = server
        self.version = 0
        # The uploads that have come, held until they are let go.
        self.held: list[Rule] = []

    async def write(self, flags: int = os.O_WRONLY) -> int:
        """Write a version without closing it; the handle's number."""
        self.version += 1
        handle = await self.host.open("log", flags | os.O_CREAT)
        for mark in _MARKS:
            await self.host.fs.files.write(handle.fh, mark, b"%8d" % self.version)
        return handle.fh

    async def close(self, fh: int) -> None:
        await self.host.fs.files.flush(fh)
        await self.host.fs.files.release(fh)

    async def change(self, flags: int = os.O_WRONLY) -> None:
        """Write a version and close it."""
        await self.close(await self.write(flags))

    def hold(self, action: Action | None = None) -> Rule:
        """Hold the next upload before its body is read, so that it is never all sent."""
        return self.server.script.add(action or Hold(), op="upload")

    async def cut(self, then: Action | None = None) -> Rule:
        """Make the file and cut two of its uploads; the third meets `then`, else it is held."""
        rules = [self.hold(), self.hold(), self.hold(then)]
        await self.change()
        for rule in rules[:2]:
            await rule.until_hit()
            await self.change()
            self.server.script.remove(rule)
        return rules[2]

    def at_service(self) -> list[int]:
        """The versions that the service has, the newest first."""
        return [version_of(content) for content in self.host.remote_bytes("log")]


def version_of(content: bytes) -> int:
    """Which version it is. Fails for a mixture of several."""
    marks = {int(content[mark : mark + 8]) for mark in _MARKS}
    assert len(marks) == 1, f"a mixture of {marks}"
    return marks.pop()


@asynccontextmanager
async def changing(folder: Path, server: Server, **options: Any) -> AsyncIterator[tuple[Host, Changing]]:
    async with running(folder, server, **({"durability": "local"} | options)) as host:
        yield host, Changing(host, server)


@asynccontextmanager
async def frozen(folder: Path, server: Server, **options: Any) -> AsyncIterator[tuple[Host, Changing, Rule]]:
    """The third version is frozen, on its way and held."""
    async with changing(folder, server, **options) as (host, log):
        held = await log.cut()
        await held.until_hit()
        [flight] = host.parts.in_flight.under_way.values()
        assert (flight.frozen, flight.generation) == (True, host.stat("log").content_gen)
        yield host, log, held


@asynccontextmanager
async def not_sent_yet(folder: Path, server: Server) -> AsyncIterator[tuple[Host, Changing, Rule]]:
    """The fourth version is closed and may be frozen; the only worker is held by another file."""
    async with frozen(folder, server, upload_workers=1) as (host, log, held):
        await log.change()
        other = log.hold()
        held.release()
        await host.until(lambda: log.at_service() == [3])
        await host.write("other", b"x")
        await other.until_hit()
        await trio.sleep(PAUSE_S + 1)
        yield host, log, other


def left_over(host: Host) -> list[str]:
    return [name for name in os.listdir(host.state_dir / "staging") if "frozen" in name]


async def test_after_two_cuts_what_a_close_left_gets_there_while_it_changes(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await log.change()
        fh = await log.write()
        held.release()
        await host.until(lambda: log.at_service() == [3])
        await host.until(lambda: not host.parts.in_flight)
        assert host.stat("log").state == ContentState.DIRTY
        assert left_over(host) == []
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [5]
        assert version_of(await host.read("log")) == 5
        assert (len(host.stored()), host.xattr("log", "state")) == (1, "clean")


async def test_a_version_that_is_closed_and_not_sent_yet_is_frozen_by_the_next_write(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """No worker has had time for it."""
    async with not_sent_yet(tmp_path, server) as (host, log, other):
        host.make_due()
        fh = await log.write()
        assert len(left_over(host)) == 1
        other.release()
        await host.until(lambda: 4 in log.at_service())
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [5]


def _makes_a_staged_file(path: object, flags: int = 0, *_: object) -> bool:
    return bool(flags & os.O_CREAT) and "staging" in str(path)


async def test_a_version_that_is_emptied_in_vain_is_as_it_was(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with not_sent_yet(tmp_path, server) as (host, log, other):
        with failing(monkeypatch, "open", errno.ENOSPC, when=_makes_a_staged_file), pytest.raises(OutOfSpace):
            await host.open("log", os.O_WRONLY | os.O_TRUNC)
        assert version_of(await host.read("log")) == 4
        await trio.sleep(PAUSE_S + 1)
        # The new staged file is empty as it is made, so there is nothing to be cut that could fail.
        with failing(monkeypatch, "ftruncate", errno.ENOSPC):
            fh = await log.write(os.O_WRONLY | os.O_TRUNC)
        assert version_of(await host.read("log")) == 5
        other.release()
        await host.until(lambda: 4 in log.at_service())
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [5]


async def test_its_closes_return_at_once(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with frozen(tmp_path, server, durability="remote", close_wait_s=10.0) as (host, log, held):
        began = trio.current_time()
        for _ in range(5):
            await log.change()
        assert trio.current_time() - began < 5.0
        held.release()
        await host.until(lambda: log.at_service() == [3])
        # It is known to keep changing.
        began = trio.current_time()
        await log.change()
        assert trio.current_time() - began < 5.0
        await host.settled()
        assert log.at_service() == [log.version]
        # It is calm now: a close waits again.
        await log.change()
        assert log.at_service()[0] == log.version


async def test_a_file_that_was_written_offline_for_long_is_waited_for_as_any(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with changing(tmp_path, server, durability="remote") as (host, log):
        host.parts.connectivity.down(Unreachable("no route"))
        for _ in range(5):
            await log.change()
            await trio.sleep(PAUSE_S)
        await host.walk()
        await log.change()
        assert log.at_service()[0] == log.version
        await host.settled()


async def test_strict_waits_as_ever_for_it_promises_more(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with changing(tmp_path, server, durability="strict", close_wait_s=10.0) as (host, log):
        for _ in range(3):
            held = log.hold()
            began = trio.current_time()
            with pytest.raises(TransportError) as late:
                await log.change()
            assert errno_of(late.value)[0] == errno.EIO
            assert trio.current_time() - began >= 10.0
            server.script.remove(held)
        await host.settled()


def due_after_close_s(host: Host) -> float:
    """How long after its last close the log is to be sent."""
    (intent,) = [intent for intent in host.pending() if intent.file_id is None]
    return (intent.due_ns - host.stat("log").closed_ns) / 1e9


async def test_the_next_version_waits_for_the_pause_and_a_calm_file_does_not(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await trio.sleep(100)
        held.release()
        await log.change()
        await host.until(lambda: log.at_service() == [3])
        ended = trio.current_time()
        sent = server.script.count("upload")
        again = log.hold()
        # It took 100 s: so long nothing is frozen, but after 30 without a change it goes as it is.
        await host.until(lambda: due_after_close_s(host) == pytest.approx(PAUSE_S, abs=1))
        await trio.sleep(PAUSE_S + 1)
        assert server.script.count("upload") == sent
        host.make_due()
        await again.until_hit()
        await log.change()
        assert left_over(host) == []
        server.script.remove(again)
        await trio.sleep(max(0.0, ended + 101 - trio.current_time()))
        again = log.hold()
        await log.change()
        await again.until_hit()
        assert len(left_over(host)) == 1
        again.release()
        await host.settled()
        assert log.at_service() == [log.version]


async def test_flush_waits_for_the_version_of_its_moment_and_not_for_the_frozen_one(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await log.change()
        wanted = log.version
        arrived: list[int] = []

        async def flush() -> None:
            result = await commands(host).status.flush(FlushParams(path="log", timeout_s=1000.0), quietly)
            assert result.left == 0
            arrived.extend(log.at_service())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flush)
            await trio.sleep(1)
            fh = await log.write()  # and never closes it
            held.release()
            await host.until(lambda: log.at_service() == [3])
            await trio.sleep(5)
            assert arrived == []
            await log.close(fh)
        assert max(arrived) >= wanted


async def test_a_drain_ends_with_the_newest(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await log.change()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.parts.drainer.drain, 1000.0)
            await trio.sleep(1)
            held.release()
        assert log.at_service() == [4]
        assert host.pending() == []


@pytest.mark.parametrize("all_sent", [False, True], ids=["before its last byte", "after it"])
async def test_w9_unlinked_meanwhile_nothing_is_left(
    tmp_path: Path, server: Server, clock: Clock, all_sent: bool
) -> None:
    async with changing(tmp_path, server) as (host, log):
        held = await log.cut(HoldReply() if all_sent else Hold())
        await held.until_hit()
        fh = await log.write()
        host.unlink("log")
        held.release()
        await log.close(fh)
        await host.settled()
        await host.until(lambda: not host.parts.in_flight)
        await host.settled()
        await host.until(lambda: not os.listdir(host.state_dir / "staging"))
        assert (host.stored(), host.ls()) == ([], [])


async def test_renamed_meanwhile_it_ends_under_its_new_name(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await log.change()
        host.rename("log", "moved")
        held.release()
        await host.until(lambda: log.at_service() == [3])
        await host.settled()
        assert host.remote_names() == ["moved"]
        assert [version_of(content) for content in host.remote_bytes("moved")] == [4]


async def test_renamed_to_what_stays_here_it_is_not_sent(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with frozen(tmp_path, server) as (host, _, held):
        host.rename("log", ".DS_Store")
        held.release()
        await host.until(lambda: not host.parts.in_flight)
        await host.settled()
        assert (host.stored(), left_over(host)) == ([], [])
        assert version_of(await host.read(".DS_Store")) == 3


async def test_w6_a_lost_reply_makes_no_second_file(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with changing(tmp_path, server) as (host, log):
        lost = await log.cut(LostReply())
        fh = await log.write()
        await host.until(lambda: lost.hits == 1)
        await host.until(lambda: any(intent.reason for intent in host.pending()))
        host.make_due()
        await host.until(lambda: host.stat("log").file_id is not None)
        assert (log.at_service(), host.remote("log").origin) == ([3], Origin.ADOPTED)
        assert left_over(host) == []
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [4]


async def test_where_the_service_does_not_answer_it_is_sent_again_as_it_is(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with changing(tmp_path, server) as (host, log):
        fault = await log.cut(Reply(503))
        fh = await log.write()
        await host.until(lambda: fault.hits == 1)
        await host.until(lambda: log.at_service() == [3], tries=100)
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [4]


async def test_closes_do_not_make_a_service_that_is_overloaded_hear_of_it_more_often(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with changing(tmp_path, server) as (host, log):
        await log.cut(Reply(503))
        server.script.add(Reply(503), op="upload", times=None)
        await host.until(lambda: any(intent.reason for intent in host.pending()))
        tried = server.script.count("upload")
        for _ in range(20):
            await log.change()
            await trio.sleep(0.1)
        assert server.script.count("upload") - tried <= 6
        server.script.clear()
        await host.settled()
        assert log.at_service() == [log.version]


async def test_what_is_refused_is_not_kept(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with changing(tmp_path, server) as (host, log):
        refusal = await log.cut(Reply(413))
        fh = await log.write()
        await host.until(lambda: refusal.hits == 1)
        await host.until(lambda: left_over(host) == [])
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [4]


@pytest.mark.parametrize("reply_lost", [False, True], ids=["in the middle", "all sent"])
async def test_a_kill_meanwhile_loses_nothing(tmp_path: Path, server: Server, clock: Clock, reply_lost: bool) -> None:
    async with changing(tmp_path, server) as (host, log):
        held = await log.cut(HoldReply() if reply_lost else Hold())
        await held.until_hit()
        await log.change()
        await log.write()
        assert len(left_over(host)) == 1
        host.kill_copy("after")
        server.script.clear()
    async with running(tmp_path, server, state="after", durability="local") as host:
        assert left_over(host) == []
        assert version_of(await host.read("log")) == 5
        await host.settled()
        assert [version_of(content) for content in host.remote_bytes("log")] == [5]
        assert host.remote_ids() == {host.id("log")}


@asynccontextmanager
async def written_from_nothing(folder: Path, server: Server, *, times: int) -> AsyncIterator[tuple[Host, Changing]]:
    """A file that was begun anew and closed so often, PAUSE_S apart."""
    async with changing(folder, server, upload_delay_s=2.0) as (host, log):
        await log.change()
        for _ in range(times):
            await log.change(os.O_WRONLY | os.O_TRUNC)
            await trio.sleep(PAUSE_S)
        yield host, log


async def test_a_file_that_is_written_from_nothing_is_set_aside_without_a_copy(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """`> log`, before any worker has come to the version that it replaces."""
    caplog.set_level("DEBUG", "remotefs.crashpoints")
    async with written_from_nothing(tmp_path, server, times=3) as (host, log):
        fh = await log.write(os.O_WRONLY | os.O_TRUNC)
        assert any("set aside" in message for message in caplog.messages)
        assert not any("staged file is frozen" in message for message in caplog.messages)
        host.make_due()
        await host.until(lambda: log.at_service() != [], tries=100)
        assert log.at_service()[0] in {2, 3, 4}
        assert host.stat("log").state == ContentState.DIRTY
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [log.version]
        await host.parts.sweeper.sweep()
        assert os.listdir(host.state_dir / "staging") == []


async def test_h7_where_a_full_disk_keeps_the_writer_in_the_old_file_that_is_not_sent(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was set aside is the very file that is written to then."""
    caplog.set_level("DEBUG", "remotefs.crashpoints")
    async with written_from_nothing(tmp_path, server, times=2) as (host, log):
        with rows_that_cannot_be_written(host, DIRTIED), pytest.raises(StateUnusable):
            await log.write(os.O_WRONLY | os.O_TRUNC)
        assert any("set aside" in message for message in caplog.messages)
        assert left_over(host) == []
        await log.change()
        await host.settled()
        assert log.at_service() == [log.version]


async def test_h7_what_a_full_disk_left_half_done_is_in_nobodys_way(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"old")
        await host.settled()
        inode = host.stat("a")
        # As a crash of the one write and a disk that took the removal of its file no more leave it.
        host.parts.staging.create(inode.ino, inode.content_gen + 1).write(0, b"rubbish")
        await host.write("a", b"new")
        await host.settled()
        assert (await host.read("a"), host.remote_bytes("a")) == (b"new", [b"new"])


async def test_with_local_durability_too_it_gets_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Each close puts the upload off, so that none is ever begun, nor cut."""
    async with changing(tmp_path, server, upload_delay_s=1e6) as (host, log):
        await log.change()
        for _ in range(8):
            await trio.sleep(5)
            await log.change()
        fh = await log.write()
        await host.until(lambda: log.at_service() != [], tries=50)
        assert host.stat("log").state == ContentState.DIRTY
        await log.close(fh)
        await host.settled()
        assert log.at_service() == [10]


async def test_status_counts_what_is_frozen_and_names_its_upload(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with frozen(tmp_path, server) as (host, log, held):
        await log.change()
        status = await commands(host).status.status(Nothing(), quietly)
        assert status.content.staging_bytes == 2 * LARGE
        assert [(upload.path, upload.size) for upload in status.uploading] == [("log", LARGE)]
        assert (await commands(host).status.retry(PathParams(), quietly)).count == 0
        held.release()
        await host.settled()


async def test_without_room_for_it_nothing_is_frozen_and_nothing_lost(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "small", 16 << 20) as disk:
        (tmp_path / "small" / "server").symlink_to(tmp_path / "server")
        async with changing(disk, server) as (host, log):
            held = await log.cut()
            await held.until_hit()
            assert (left_over(host), [flight.frozen for flight in host.parts.in_flight.under_way.values()]) == (
                [],
                [False],
            )
            await log.change()
            assert left_over(host) == []
            assert "no version of it can be kept" in caplog.text
            server.script.remove(held)
            await host.settled()
            assert log.at_service() == [log.version]


# -- whatever is done between two steps of it


def _unlink(host: Host, log: Changing) -> None:
    host.unlink("log")


def _rename(host: Host, log: Changing) -> None:
    host.rename("log", "moved")


def _keep_here(host: Host, log: Changing) -> None:
    host.rename("log", ".DS_Store")


def _write(host: Host, log: Changing) -> None:
    host.nursery.start_soon(log.change)


def _write_from_nothing(host: Host, log: Changing) -> None:
    host.nursery.start_soon(log.change, os.O_WRONLY | os.O_TRUNC)


# What is done, and which versions are there afterwards by their names.
ACTS: dict[str, tuple[Callable[[Host, Changing], None], dict[str, int]]] = {
    "unlink": (_unlink, {}),
    "rename": (_rename, {"moved": 3}),
    "keep here": (_keep_here, {".DS_Store": 3}),
    "write": (_write, {"log": 4}),
    "write from nothing": (_write_from_nothing, {"log": 4}),
}


async def freeze_and_act(folder: Path, server: Server, name: str, nth: int) -> int:
    """Act at the nth step of the third upload, which freezes what it sends; how many steps it had."""
    act, left = ACTS[name]
    async with changing(folder, server) as (host, log):
        with Between("Workers._carry_out", nth, lambda: act(host, log), which=2) as between:
            (await log.cut()).release()
            for _ in range(3):
                await trio.testing.wait_all_tasks_blocked(0.002)
                await host.settled()
                await host.until(lambda: not host.parts.writeback.statistics().running)
        assert between.seen > 0
        if between.seen > nth:
            assert {path: version_of(await host.read(path)) for path in host.ls()} == left
            if name != "keep here":
                assert host.remote_names() == list(left)
                assert [version_of(host.remote_bytes(path)[0]) for path in left] == list(left.values())
        await trio.sleep(61)
        await host.parts.sweeper.sweep()
        assert left_over(host) == []
        assert len(os.listdir(host.state_dir / "staging")) <= (name == "keep here")
        return between.seen


@pytest.mark.parametrize(("name", "nth"), [(name, 1 + number) for number, name in enumerate(ACTS)])
async def test_a_user_acts_between_two_steps_of_it(
    tmp_path: Path, server: Server, clock: Clock, name: str, nth: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert await freeze_and_act(tmp_path, server, name, nth) > nth
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.long
@pytest.mark.parametrize("name", ACTS)
async def test_a_user_acts_between_any_two_steps_of_it(
    tmp_path: Path, server: Server, clock: Clock, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    await at_every_step(tmp_path, lambda folder, server, nth: freeze_and_act(folder, server, name, nth))
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
