"""Beside a folder that was renamed and is still followed: uploads, deletes, users, commands, and the end of the mount."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from remotefs.data.intents import renamed_folders
from remotefs.errors import AccountError
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.store.records import ROOT_INO, IntentKind
from remotefs.wakeup import Wakeup
from tests.between import Between, at_every_step
from tests.faults import FaultyServer, Hold
from tests.parts import Host, clock, running, server
from tests.sampling import sample
from tests.turns import BOUND, Turns

__all__ = ["clock", "server"]
Server, Clock = FaultyServer, trio.abc.Clock
NAMES = ("one", "two", "three")


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry a step, however small the folder."""
    monkeypatch.setattr(renamed_folders, "_A_STEP", 1)
    monkeypatch.setattr(renamed_folders, "_LOOK", 0)


def slowly(host: Host) -> None:
    """Let no folder be followed in its rename."""
    host.parts.intents.renamed_folders.at_once = 0


async def _followed(host: Host) -> None:
    await host.until(lambda: host.parts.store.renames.first() is None)


async def _fill(host: Host, folder: str, *, data: bytes = b"x") -> None:
    host.mkdir(folder)
    for name in NAMES:
        await host.write(f"{folder}/{name}", data)


def _nothing(_: Host) -> None:
    """Nobody does anything meanwhile."""


def _all_is_due(host: Host) -> None:
    host.make_due()


def _another_rename(host: Host) -> None:
    host.rename("new", "newer")


def _there_and_back(host: Host) -> None:
    host.rename("new", "away")
    host.rename("away", "new")


def _a_file_goes(host: Host) -> None:
    if host.parts.tree.resolve("new/two"):
        host.unlink("new/two")
    host.make_due()


def _a_file_moves(host: Host) -> None:
    host.rename("new/two", "moved")
    host.make_due()


ACTS = [_nothing, _all_is_due, _another_rename, _there_and_back, _a_file_goes, _a_file_moves]
Act = Callable[[Host], None]


def _at(nth: int, act: Act, host: Host) -> Between:
    return Between("RenameFollower.run", nth, lambda: act(host))


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("stride", sample(6, 1))
async def test_w7_what_is_not_uploaded_yet_goes_up_once_under_the_name_it_has_then(
    stride: int, act: Act, tmp_path: Path, clock: Clock
) -> None:
    async def one(place: Path, server: Server, nth: int) -> int:
        async with running(place, server, durability="local", upload_delay_s=1e6) as host:
            slowly(host)
            await _fill(host, "old")
            with _at(nth, act, host) as between:
                host.rename("old", "new")
                await _followed(host)
            await host.settled()
            shown = sorted(f"{folder}／{name}" for folder in host.ls() for name in _files(host, folder))
            plain = [name for name in host.ls() if not host.stat(name).is_dir]
            assert host.remote_names() == sorted([*shown, *plain])
            assert server.script.count("upload") <= len(NAMES)
            assert await check_state(host.parts, Scope(working=True)) == []
            return between.seen

    await at_every_step(tmp_path, one, stride=stride)


def _files(host: Host, folder: str) -> list[str]:
    return host.ls(folder) if host.stat(folder).is_dir else []


@pytest.mark.parametrize("stride", sample(6, 1))
async def test_n6_what_stays_here_now_is_never_sent(stride: int, tmp_path: Path, clock: Clock) -> None:
    """Into the trash of a desktop, whatever is due meanwhile."""

    async def one(place: Path, server: Server, nth: int) -> int:
        async with running(place, server, durability="local", upload_delay_s=1e6) as host:
            slowly(host)
            host.mkdir(".Trash-0")
            await _fill(host, "old")
            with _at(nth, _all_is_due, host) as between:
                host.rename("old", ".Trash-0/old")
                await _followed(host)
            await host.settled()
            assert (host.stored(), server.script.count("upload")) == ([], 0)
            return between.seen

    await at_every_step(tmp_path, one, stride=stride)


async def test_n6_an_upload_under_way_is_cut_in_the_rename(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        slowly(host)
        host.mkdir(".Trash-0")
        held = server.script.add(Hold(), op="upload")
        host.mkdir("old")
        await host.write("old/large", bytes(24 << 20))
        await held.until_hit()
        upload = host.parts.in_flight.under_way[host.stat("old/large").ino]
        host.rename("old", ".Trash-0/old")
        assert upload.scope.cancel_called
        held.release()
        await host.settled()
        assert host.stored() == []


@pytest.mark.parametrize("stride", sample(6, 1))
async def test_n6_what_comes_out_of_there_goes_up_whatever_happens(stride: int, tmp_path: Path, clock: Clock) -> None:
    """The mount is killed at each step, and another goes on."""

    async def one(place: Path, server: Server, nth: int) -> int:
        async with running(place, server, durability="local") as host:
            slowly(host)
            host.mkdir(".Trash-0")
            await _fill(host, ".Trash-0/old")
            host.parts.connectivity.suspend(AccountError("another account answers"))
            with _at(nth, lambda host: host.kill_copy("killed"), host) as between:
                host.rename(".Trash-0/old", "new")
                await _followed(host)
        if (place / "killed").exists():
            async with running(place, server, state="killed", durability="local") as host:
                await _followed(host)
                await host.settled()
                assert host.remote_names() == sorted(f"new／{name}" for name in NAMES)
                assert await check_state(host.parts, Scope(working=True)) == []
        return between.seen

    await at_every_step(tmp_path, one, stride=stride)


@pytest.mark.parametrize("stride", sample(6, 1))
async def test_w5_what_the_files_replace_goes_after_them(stride: int, tmp_path: Path, clock: Clock) -> None:
    """`rm -r new; mv old new`, as build tools do it; the removals are due at one step, and have all the time there."""

    async def one(place: Path, server: Server, nth: int) -> int:
        async with running(place, server, durability="local", upload_delay_s=1e6, delete_wait_s=1e6) as host:
            slowly(host)
            await _fill(host, "new", data=b"first")
            await host.settled()
            await _fill(host, "old", data=b"second")
            for name in NAMES:
                host.unlink(f"new/{name}")
            host.fs.namespace.rmdir(ROOT_INO, b"new")
            before = server.script.count()
            # The task that would follow sleeps on: the steps are taken here.
            host.parts.intents.renamed_folders.added = Wakeup()
            host.rename("old", "new")
            steps = _steps(host)
            for seen, _ in enumerate(steps, start=1):
                if seen == nth:
                    _deletes_are_due(host)
                    await trio.sleep(5.0)
            await host.settled()
            ops = [r.op for r in server.script.requests()[before:] if r.op in {"upload", "delete"}]
            assert all(ops[:n].count("upload") >= ops[:n].count("delete") for n in range(len(ops) + 1)), ops
            assert (ops.count("upload"), ops.count("delete")) == (len(NAMES), len(NAMES))
            assert host.remote_names() == sorted(f"new／{name}" for name in NAMES)
            return seen

    await at_every_step(tmp_path, one, stride=stride)


def _steps(host: Host) -> Iterator[None]:
    renamed = host.parts.store.renames.first()
    assert renamed is not None
    return host.parts.intents.renamed_folders.follow(renamed)


def _deletes_are_due(host: Host) -> None:
    for intent in host.pending():
        if intent.kind is IntentKind.DELETE:
            host.parts.journal.reschedule(intent.seq, due_ns=0)
    host.parts.wakeup.set()


async def test_w5_no_delete_goes_out_while_files_follow(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"x")
        host.parts.store.renames.add(10**6, reupload=None)  # nobody follows it yet
        host.unlink("a")
        host.make_due()
        await trio.sleep(30)
        assert host.remote_names() == ["a"]
        host.parts.intents.renamed_folders.added.set()
        await host.until(lambda: not host.stored())


async def test_a3_a_drain_waits_for_the_files_that_follow(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        slowly(host)
        host.mkdir(".Trash-0")
        await _fill(host, ".Trash-0/old")
        host.rename(".Trash-0/old", "new")
        assert host.pending() == []
        assert await host.parts.drainer.drain(60.0) == []
        assert host.remote_names() == sorted(f"new／{name}" for name in NAMES)
        host.rename("new", ".Trash-0/old")
        await _fill(host, ".Trash-0/other")
        host.rename(".Trash-0/other", "other")
        inos = [host.stat(f"other/{name}").ino for name in NAMES]
        assert await host.parts.drainer.drain(60.0, inos) == []
        assert {f"other／{name}" for name in NAMES} <= set(host.remote_names())


async def test_h8_a_further_name_of_a_file_costs_the_same_however_many_it_has(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await host.write("gone", b"x")
        await host.settled()
        host.unlink("gone")
        await host.write("file", b"x")
        inode = host.stat("file")
        with host.parts.database.transaction():
            for n in range(5000):
                host.parts.tree.link(inode.ino, ROOT_INO, f"name{n}", now_ns=1)
        await trio.lowlevel.checkpoint()
        with Turns(host) as turns:
            await trio.lowlevel.checkpoint()
            host.link("file", "another")
            await trio.lowlevel.checkpoint()
        assert 0 < turns.longest < BOUND / 3, turns


async def test_h8_no_turn_takes_long_after_the_rename_of_a_large_folder(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renamed_folders, "_A_STEP", 32)
    monkeypatch.setattr(renamed_folders, "_LOOK", 100)
    async with running(tmp_path, server) as host:
        host.mkdir("old")
        folder = host.stat("old").ino
        with host.parts.database.transaction():
            for n in range(2000):
                host.parts.tree.create(folder, f"f{n}", 0o100644, uid=0, gid=0, now_ns=1)
        await trio.lowlevel.checkpoint()
        with Turns(host) as turns:
            await trio.lowlevel.checkpoint()
            host.rename("old", "new")
            assert host.parts.store.renames.count() == 1
            await trio.lowlevel.checkpoint()
            await host.until(lambda: host.parts.store.renames.count() == 0)
        assert 0 < turns.longest < BOUND / 3, turns


class Odd(Exception):
    """What nobody foresaw."""


@contextmanager
def a_file_that_fails(host: Host, path: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Fail each look at where the bytes of one file are, as a mistake of ours would."""
    bad, place, tries = host.stat(path).ino, host.parts.staging.place, [0]

    def fails(ino: int, generation: int) -> Path:
        if ino == bad:
            tries[0] += 1
            raise Odd("this one is odd")
        return place(ino, generation)

    with monkeypatch.context() as patch:
        patch.setattr(host.parts.staging, "place", fails)
        yield tries


@pytest.mark.parametrize("step", [1, 10])
async def test_h7_a_file_that_fails_does_not_hold_up_the_others(
    step: int,
    tmp_path: Path,
    server: Server,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It follows once it can, and nothing that it replaces goes before it; everything else goes on meanwhile."""
    monkeypatch.setattr(renamed_folders, "_A_STEP", step)
    async with running(tmp_path, server, durability="local") as host:
        slowly(host)
        host.mkdir(".Trash-0")
        for name in ("new／two", "other"):
            await host.write(name.replace("／", "-"), b"first")
        host.mkdir("new")
        host.rename("new-two", "new/two")
        await host.settled()
        await _fill(host, ".Trash-0/old")
        host.unlink("new/two")
        host.fs.namespace.rmdir(ROOT_INO, b"new")
        with a_file_that_fails(host, ".Trash-0/old/two", monkeypatch) as tries:
            host.rename(".Trash-0/old", "new")
            host.unlink("other")
            host.mkdir(".Trash-0/later")
            await host.write(".Trash-0/later/file", b"x")
            host.rename(".Trash-0/later", "later")
            for _ in range(4):
                host.make_due()
                await trio.sleep(5.0)
            assert host.remote_names() == ["later／file", "new／one", "new／three", "new／two"]
            assert host.remote_bytes("new／two") == [b"first"]
            assert 3 < tries[0] < 12
            left = await host.parts.drainer.drain(10.0)
            assert ([intent.kind for intent in left], host.parts.store.renames.count()) == ([IntentKind.DELETE], 1)
        assert [record.message for record in caplog.records if "odd" in record.message] == [
            "new/two: it has not followed the rename of its folder, and is tried again: this one is odd"
        ]
        await host.until(lambda: host.parts.store.renames.count() == 0)
        await host.settled()
        assert host.remote_bytes("new／two") == [b"x"]
        assert await check_state(host.parts, Scope(working=True)) == []


@pytest.mark.parametrize("end", ["unlink", "move away", "rename its folder again", "mount again"])
async def test_h7_a_file_that_failed_is_done_with_what_happens_to_it(
    end: str, tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        slowly(host)
        host.mkdir(".Trash-0")
        await _fill(host, ".Trash-0/old")
        with a_file_that_fails(host, ".Trash-0/old/two", monkeypatch):
            host.rename(".Trash-0/old", "new")
            await _followed(host)
            assert host.parts.store.renames.count() == 1
        if end == "unlink":
            host.unlink("new/two")
        elif end == "move away":
            host.rename("new/two", "two")
        elif end == "rename its folder again":
            host.rename("new", "newer")
        state = "state"
        if end == "mount again":
            host.kill_copy(state := "killed")
        else:
            await host.until(lambda: host.parts.store.renames.count() == 0)
    async with running(tmp_path, server, state=state, durability="local") as host:
        await _followed(host)
        await host.settled()
        folder = "newer" if end == "rename its folder again" else "new"
        gone = {"unlink": [], "move away": ["two"]}.get(end, [f"{folder}／two"])
        assert host.remote_names() == sorted([f"{folder}／one", f"{folder}／three", *gone])
        assert host.parts.store.renames.count() == 0
        assert await check_state(host.parts, Scope(working=True)) == []


async def test_h7_a_file_that_fails_keeps_no_small_folder_from_being_renamed(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(renamed_folders, "_LOOK", len(NAMES))
    async with running(tmp_path, server, working=False, durability="local") as host:
        await _fill(host, "old")
        with a_file_that_fails(host, "old/two", monkeypatch) as tries:
            host.rename("old", "new")
            assert (host.ls(), tries) == (["new"], [1])
            await host.start_working()
            await host.until(lambda: set(host.remote_names()) >= {f"new／{name}" for name in NAMES if name != "two"})
            assert "new/two: it has not followed the rename of its folder" in caplog.text
        await host.settled()
        await host.until(lambda: host.parts.store.renames.count() == 0)
        assert sorted(host.remote_names()) == sorted(f"new／{name}" for name in NAMES)
