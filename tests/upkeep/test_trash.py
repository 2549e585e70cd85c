"""S2: bytes that only this machine has are kept when their file goes elsewhere."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from remotefs.config import Config
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.trash import EmptyParams, RestoreParams
from remotefs.data.content.trash import Trash
from remotefs.errors import AlreadyExists, CorruptionError, NotADirectory, NotFound, RemotefsError
from tests.between import Between, at_every_step
from tests.commands import commands, quietly
from tests.faults import EditJson, FaultyServer
from tests.parts import Host
from tests.upkeep.support import add, at_once, machine, walks

Server, Clock = FaultyServer, trio.abc.Clock


async def _lost(host: Host, path: str, data: bytes) -> str:
    """A file of ours that somebody deletes elsewhere; the id that it had."""
    await host.write(path, data)
    await host.settled()
    file_id = host.id(path)
    host.server.store.delete(file_id)
    await walks(host)
    return file_id


async def _gone_elsewhere(host: Host, count: int) -> list[str]:
    """Files of ours that somebody deletes elsewhere, and that one complete listing came without; their names."""
    names = [f"f{number}" for number in range(count)]
    for name in names:
        await host.write(name, b"precious")
    await host.settled()
    for name in names:
        host.server.store.delete(host.id(name))
    await host.walk()
    return names


async def test_s2_what_only_this_machine_has_goes_to_the_trash(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        host.mkdir("d")
        file_id = await _lost(host, "d/f.txt", b"precious")
        [entry] = (await commands(host).trash.list_trash(Nothing(), quietly)).entries
        assert (entry.path, entry.file_id, entry.size) == ("d/f.txt", file_id, 8)
        assert "deleted elsewhere" in entry.reason
        assert host.parts.trash.bytes_of(entry.number).read_bytes() == b"precious"
        assert host.ls("d") == []


async def test_s2_what_is_still_open_for_writing_goes_there_too(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Its bytes are confirmed, and not yet in the content store."""
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        handle = await host.open("f", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"precious")
        await host.fs.files.flush(handle.fh)
        server.store.delete(host.id("f"))
        await walks(host)
        await host.close(handle)
        await host.until(lambda: os.listdir(host.state_dir / "staging") == [])
        [entry] = host.parts.trash.entries()
        assert (entry.path, host.parts.trash.bytes_of(entry.number).read_bytes()) == ("f", b"precious")


async def test_s2_a_removal_of_many_lets_others_in(tmp_path: Path, server: Server, clock: Clock) -> None:
    """Each syncs the trash: nobody waits for more than one of them."""
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        await _gone_elsewhere(host, 10)
        seen: set[int] = set()

        async def look() -> None:
            while True:
                seen.add(len(host.ls()))
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await host.walk()
            nursery.cancel_scope.cancel()
        assert len(host.parts.trash.entries()) == 10
        assert len(seen) > 3, "it was waited for all of them"


async def test_s2_what_came_back_meanwhile_stays(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        names = await _gone_elsewhere(host, 10)
        rows = {row.filename: row for row in host.parts.remotes.missed(1)}

        async def bring_back() -> list[str]:
            while len(host.ls()) == 11:
                await trio.lowlevel.checkpoint()
            back = [name for name in names if name in host.ls()]
            for name in back:
                host.parts.remotes.add(rows[name])
            return back

        async with trio.open_nursery() as nursery:
            nursery.start_soon(host.walk)
            back = await bring_back()
        assert back
        assert host.ls() == [*back, "kept"]


async def test_s2_after_a_404_too(tmp_path: Path, server: Server, clock: Clock) -> None:
    """A pinned file is never read from the service, so this one is looked for because somebody told."""
    async with machine(tmp_path, server) as host:
        await host.write("f", b"precious")
        await host.settled()
        file_id = host.id("f")
        server.store.delete(file_id)
        await host.nursery.start(host.parts.refresh.run)
        host.parts.reported_missing.report(file_id)
        await host.until(lambda: host.ls() == [])
        assert [entry.path for entry in host.parts.trash.entries()] == ["f"]


async def test_s2_what_expired_goes_there_too(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        await host.write("f", b"precious")
        await host.settled()
        add(server, "kept")
        server.script.add(EditJson(_expired), op="list", times=2)
        await walks(host)
        assert host.ls() == ["kept"]
        assert [(entry.path, entry.reason) for entry in host.parts.trash.entries()] == [("f", "it expired")]


async def test_s2_the_users_own_removal_leaves_nothing_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        await host.write("f", b"unwanted")
        await host.write("g", b"replaced")
        await host.settled()
        host.unlink("f")
        await host.write("g", b"by this")
        await host.settled()
        await walks(host, 3)
        assert host.parts.trash.entries() == []


async def test_s2_what_others_can_give_back_does_not_go_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    gone = add(server, "f", b"cached")
    async with machine(tmp_path, server) as host:
        await host.walk()
        assert await host.read("f") == b"cached"
        server.store.delete(gone)
        await walks(host)
        assert host.parts.trash.entries() == []


async def test_s2_restored_it_is_where_it_was_and_is_uploaded_again(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        host.mkdir("d")
        await host.write("d/f.txt", b"precious")
        host.parts.tree.update(host.stat("d/f.txt").ino, mode=0o100600, mtime_ns=123456789)
        file_id = await _lost_now(host, "d/f.txt")
        host.fs.namespace.rmdir(1, b"d")
        [entry] = host.parts.trash.entries()
        result = await commands(host).trash.restore(RestoreParams(entry.number), quietly)
        assert result.path == "d/f.txt"
        inode = host.stat("d/f.txt")
        assert (await host.read("d/f.txt"), inode.mode, inode.mtime_ns) == (b"precious", 0o100600, 123456789)
        await host.settled()
        assert host.remote_bytes("d／f.txt") == [b"precious"]
        assert host.id("d/f.txt") != file_id
        assert host.parts.trash.entries() == []
        await walks(host, 3)
        assert await host.read("d/f.txt") == b"precious"


async def test_s2_restored_to_another_path(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"precious")
        [entry] = host.parts.trash.entries()
        result = await commands(host).trash.restore(RestoreParams(entry.number, "new/place/g"), quietly)
        assert (result.path, await host.read("new/place/g")) == ("new/place/g", b"precious")
        await host.settled()
        assert host.remote_bytes("new／place／g") == [b"precious"]


async def test_s2_a_restore_never_replaces_what_is_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"precious")
        await host.write("f", b"another")
        [entry] = host.parts.trash.entries()
        with pytest.raises(AlreadyExists, match="--to"):
            await commands(host).trash.restore(RestoreParams(entry.number), quietly)
        with pytest.raises(NotADirectory):
            await commands(host).trash.restore(RestoreParams(entry.number, "f/below"), quietly)
        assert await host.read("f") == b"another"
        assert [kept.number for kept in host.parts.trash.entries()] == [entry.number]


@pytest.mark.parametrize("path", ["../out", "/etc/out", "a//b", "a/../../b", ".remotefs/f", ".", "a/", "x" * 300])
async def test_s2_a_restore_stays_within_the_mount(tmp_path: Path, server: Server, clock: Clock, path: str) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"precious")
        [entry] = host.parts.trash.entries()
        with pytest.raises(RemotefsError):
            await commands(host).trash.restore(RestoreParams(entry.number, path), quietly)
        assert [kept.number for kept in host.parts.trash.entries()] == [entry.number]
        assert host.parts.trash.bytes_of(entry.number).read_bytes() == b"precious"


async def test_s2_a_number_that_is_not_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        with pytest.raises(NotFound, match="trash list"):
            await commands(host).trash.restore(RestoreParams(7), quietly)


async def test_s2_emptied_it_is_empty_and_young_things_stay_when_told_so(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"precious")
        assert (await commands(host).trash.empty_trash(EmptyParams(older_than_days=1), quietly)).count == 0
        assert (await commands(host).trash.empty_trash(EmptyParams(), quietly)).count == 1
        assert list((host.state_dir / "trash").iterdir()) == []


async def test_s2_after_its_days_it_goes_for_good(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"precious")
        await host.walk()
        assert len(host.parts.trash.entries()) == 1
    async with machine(tmp_path, server, change=_no_days) as host:
        await host.walk()
        assert host.parts.trash.entries() == []


async def test_s2_it_is_there_after_a_restart_and_numbers_are_not_given_twice(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with machine(tmp_path, server) as host:
        add(server, "kept")
        await _lost(host, "f", b"one")
    async with machine(tmp_path, server) as host:
        await _lost(host, "f", b"two")
        trash = host.parts.trash
        assert [trash.bytes_of(entry.number).read_bytes() for entry in trash.entries()] == [b"one", b"two"]


def test_s2_bytes_without_their_record_are_shown_and_kept(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")
    (tmp_path / "f").write_bytes(b"x")
    kept = trash.put(tmp_path / "f", path="f", file_id="file_1", size=1, mode=0o100644, mtime_ns=1, reason="why")
    (tmp_path / "trash" / f"{kept.number}.json").write_bytes(b'{"half')
    [entry] = Trash(tmp_path / "trash").entries()
    assert (entry.number, entry.size, trash.bytes_of(entry.number).read_bytes()) == (kept.number, 1, b"x")


def test_s2_it_is_private(tmp_path: Path) -> None:
    Trash(tmp_path / "trash")
    assert os.stat(tmp_path / "trash").st_mode & 0o777 == 0o700


async def _lost_now(host: Host, path: str) -> str:
    await host.settled()
    file_id = host.id(path)
    host.server.store.delete(file_id)
    await walks(host)
    return file_id


def _expired(page: dict[str, Any]) -> dict[str, Any]:
    over = {"expires_at": "2026-01-01T00:00:00Z"}
    return page | {"data": [file | (over if file["filename"] == "f" else {}) for file in page["data"]]}


def _no_days(config: Config) -> Config:
    config = at_once(config)
    return msgspec.structs.replace(config, refresh=msgspec.structs.replace(config.refresh, trash_days=0.0))


# -- what fails (H7)


async def test_s2_a_restore_that_fails_makes_and_sends_nothing(tmp_path: Path, server: Server, clock: Clock) -> None:
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        host.mkdir("d")
        await _lost(host, "d/e.txt", b"precious")
        [entry] = host.parts.trash.entries()
        bytes_path = host.parts.trash.bytes_of(entry.number)
        bytes_path.write_bytes(b"prec")
        before = server.script.count("upload")
        for path in ("d/e.txt", "new/folder/e.txt"):
            with pytest.raises(CorruptionError):
                await commands(host).trash.restore(RestoreParams(number=entry.number, path=path), quietly)
        await trio.sleep(100)
        await host.settled()
        assert (host.ls(), host.ls("d"), server.script.count("upload")) == (["d", "kept"], [], before)
        assert host.parts.staging.scan() == []

        bytes_path.write_bytes(b"precious")
        await commands(host).trash.restore(RestoreParams(number=entry.number, path="new/folder/e.txt"), quietly)
        await host.settled()
        assert await host.read("new/folder/e.txt") == b"precious"
        assert host.parts.trash.entries() == []


class _AtStep(logging.Handler):
    """Does something as soon as a step is reached."""

    def __init__(self, step: str, act: Callable[[], object]) -> None:
        super().__init__()
        self._step, self._act = step, act

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and record.args[0] == self._step:
            self._act()


def test_s2_what_was_not_synced_once_is_not_taken_for_kept(tmp_path: Path) -> None:
    trash = Trash(tmp_path / "trash")
    source = tmp_path / "bytes"
    source.write_bytes(b"precious")

    def put() -> None:
        trash.put(source, path="f", file_id="file_1", size=8, mode=0o600, mtime_ns=0, reason="test")

    steps = logging.getLogger("remotefs.crashpoints")
    fault = _AtStep("trash has the bytes", lambda: (tmp_path / "trash").rename(tmp_path / "hidden"))
    steps.addHandler(fault)
    level, _ = steps.level, steps.setLevel(logging.DEBUG)
    try:
        with pytest.raises(FileNotFoundError):
            put()
    finally:
        steps.removeHandler(fault)
        steps.setLevel(level)
    (tmp_path / "hidden").rename(tmp_path / "trash")
    with pytest.raises(FileNotFoundError):
        put()
    trash = Trash(tmp_path / "trash")
    put()
    assert [entry.path for entry in trash.entries()] == ["f"]


# -- while the loop goes on (H8)


async def test_h8_the_trash_waits_for_the_disk_in_a_thread_and_in_no_transaction(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    seen: set[tuple[bool, bool]] = set()
    async with machine(tmp_path, server) as host:

        def look() -> None:
            in_loop = threading.current_thread() is threading.main_thread()
            seen.add((in_loop, host.parts.database._undo is not None))

        steps = logging.getLogger("remotefs.crashpoints")
        handlers = [_AtStep(step, look) for step in ("trash details are written", "trash has the bytes")]
        level, _ = steps.level, steps.setLevel(logging.DEBUG)
        for handler in handlers:
            steps.addHandler(handler)
        try:
            await _lost(host, "f", b"precious")
        finally:
            for handler in handlers:
                steps.removeHandler(handler)
            steps.setLevel(level)
        assert [entry.path for entry in host.parts.trash.entries()] == ["f"]
    assert seen == {(False, False)}


async def _act_during_removal(folder: Path, server: Server, nth: int, act: Callable[[Host], object]) -> int:
    """The user acts at the nth step of the listing that takes `f` out; nothing precious is lost and nothing doubled."""
    add(server, "kept")
    async with machine(folder, server) as host:
        await host.write("f", b"precious")
        await host.settled()
        server.store.delete(host.id("f"))
        await host.walk()

        async def remove_it() -> None:
            await host.walk()

        with Between("remove_it", nth, lambda: act(host)) as between:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(remove_it)
        await host.settled()
        await walks(host)
        await host.settled()
        trashed = [host.parts.trash.bytes_of(entry.number).read_bytes() for entry in host.parts.trash.entries()]
        if between.seen <= nth:
            assert (host.ls(), trashed) == (["kept"], [b"precious"])
        elif act is _unlink:
            assert (host.ls(), trashed) in ((["kept"], []), (["kept"], [b"precious"]))
        else:
            assert host.ls() == ["f", "kept"]
            assert await host.read("f") == b"written"
            assert trashed in ([], [b"precious"])
        return between.seen


def _unlink(host: Host) -> None:
    if "f" in host.ls():
        host.unlink("f")


def _write(host: Host) -> None:
    host.nursery.start_soon(host.write, "f", b"written")


@pytest.mark.parametrize(("act", "nth"), [(_unlink, 10), (_write, 12)], ids=["unlink", "write"])
async def test_s2_w8_a_user_acts_at_a_step_of_a_removal(
    tmp_path: Path, server: Server, clock: Clock, act: Callable[[Host], object], nth: int
) -> None:
    assert await _act_during_removal(tmp_path, server, nth, act) > nth


@pytest.mark.long
@pytest.mark.parametrize("act", [_unlink, _write], ids=["unlink", "write"])
async def test_s2_w8_a_user_acts_at_any_step_of_a_removal(
    tmp_path: Path, clock: Clock, act: Callable[[Host], object]
) -> None:
    await at_every_step(tmp_path, lambda folder, server, nth: _act_during_removal(folder, server, nth, act))


async def test_s2_one_that_cannot_be_kept_stays_and_holds_up_no_other(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept")
    async with machine(tmp_path, server) as host:
        names = await _gone_elsewhere(host, 3)
        # A folder is where the record of the first of them has to go.
        blocked = host.state_dir / "trash" / "1.json.new"
        blocked.mkdir()
        await host.walk()
        assert len(set(host.ls()) & set(names)) == 1
        assert host.parts.listings.walked_ago_s < 60
        blocked.rmdir()
        await host.walk()
        assert (host.ls(), len(host.parts.trash.entries())) == (["kept"], 3)
