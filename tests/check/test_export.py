"""`export`: what is on this disk, byte for byte, with the service out of reach and without a mount."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import trio

from remotefs.config import Config
from remotefs.control.messages.base import Progress
from remotefs.control.messages.check import ExportParams, ExportResult
from remotefs.errors import InvalidArgument, NotFound
from remotefs.mount import offline
from tests.commands import commands
from tests.faults import FaultyServer, Reply
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock
WEIRD = bytes(range(256)) * 1000


async def exported(host: Host, path: str, target: Path, *, force: bool = False) -> ExportResult:
    checking = commands(host).check
    return await checking.export(ExportParams(path=path, target=str(target), force=force), lambda _: None)


def bytes_of(file: Path) -> bytes:
    return file.read_bytes()


async def populate(host: Host) -> None:
    """A pinned upload, a file that waits, one being written, an empty one, a link, and one that is not here."""
    host.server.store.add("made.csv", b"1,2", downloadable=True)
    await host.walk()
    host.mkdir("d")
    await host.write("d/ours", WEIRD)
    await host.settled()
    host.server.script.add(Reply(500), op="upload", times=None)
    host.fs.namespace.symlink(host.stat("d").ino, b"link", b"ours", host.user)
    await host.write("d/empty", b"")


async def test_all_that_is_here_is_copied_and_the_rest_is_named(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await populate(host)
        handle = await host.open("writing", os.O_RDWR | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"half")
        result = await exported(host, "", tmp_path / "out")
        assert (result.files, result.bytes) == (3, len(WEIRD) + 4)
        assert [(left.path, "not on this disk" in left.reason) for left in result.failed] == [("made.csv", True)]
        out = tmp_path / "out"
        assert (out / "d" / "ours").read_bytes() == WEIRD
        assert (out / "writing").read_bytes() == b"half"
        assert os.readlink(out / "d" / "link") == "ours"
        assert (out / "d" / "ours").stat().st_mtime_ns == host.stat("d/ours").mtime_ns
        await host.close(handle)


async def test_nothing_is_overwritten_unless_it_is_asked_for(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await populate(host)
        target = tmp_path / "there"
        target.write_bytes(b"mine")
        refused = await exported(host, "d/ours", target)
        assert (refused.files, refused.failed_count) == (0, 1)
        assert "--force" in refused.failed[0].reason
        assert bytes_of(target) == b"mine"
        assert (await exported(host, "d/ours", target, force=True)).files == 1
        assert bytes_of(target) == WEIRD
        assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []


async def test_damaged_bytes_are_not_passed_off_as_good(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await populate(host)
        host.parts.content.close()
        with host.parts.content.where(host.id("d/ours")).open("r+b") as file:
            file.write(b"X")
        result = await exported(host, "d/ours", tmp_path / "out")
        assert "damaged" in result.failed[0].reason
        assert "out" not in os.listdir(tmp_path)


async def test_a_target_that_cannot_be_is_refused(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        with pytest.raises(InvalidArgument, match="make it first"):
            await exported(host, "", tmp_path / "missing" / "out")
        with pytest.raises(InvalidArgument, match="in the mount"):
            await exported(host, "", tmp_path / "mnt" / "out")
        with pytest.raises(NotFound):
            await exported(host, "nowhere", tmp_path / "out")


async def test_without_a_mount_all_is_copied_out_of_the_state_folder(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await populate(host)
        state_dir = host.kill_copy("copy")

    def export() -> ExportResult:
        return offline.export(state_dir, Config(), "", tmp_path / "out", force=False, report=lambda _: None)

    result = await trio.to_thread.run_sync(export)
    assert (result.files, result.failed_count) == (2, 1)
    assert (tmp_path / "out" / "d" / "ours").read_bytes() == WEIRD
    found = await trio.to_thread.run_sync(
        lambda: offline.check(state_dir, Config(), repair=True, read=True, report=lambda _: None)
    )
    assert found.count == found.repaired


@pytest.mark.parametrize("damaged", [False, True])
async def test_what_the_database_has_lost_is_copied_from_the_folder_and_that_is_said(
    tmp_path: Path, server: Server, clock: Clock, *, damaged: bool
) -> None:
    """A database from before, which opens: the bytes of two uploads and of two changes lie beside it."""
    async with running(tmp_path, server, durability="local") as host:
        await host.write("kept", b"kept")
        await host.settled()
        before = host.kill_copy("before")
        host.mkdir("d")
        await host.write("d/up", WEIRD)
        await host.settled()
        server.script.add(Reply(500), op="upload", times=None)
        await host.write("kept", b"kept, changed")
        await host.write("new", b"new")
        state_dir = host.kill_copy("copy")
    for name in ("state.db", "state.db-wal"):
        (state_dir / name).unlink(missing_ok=True)
        if (before / name).exists():
            shutil.copy(before / name, state_dir / name)
    if damaged:
        connection = sqlite3.connect(state_dir / "state.db")
        with connection:
            connection.execute("DELETE FROM dentry")
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("DELETE FROM sqlite_schema WHERE name = 'dentry_ino'")
        connection.close()
    said: list[str] = []

    def export(path: str = "", to: str = "out") -> ExportResult:
        def report(progress: Progress) -> None:
            said.append(str(progress))

        return offline.export(state_dir, Config(), path, tmp_path / to, force=False, report=report)

    result = await trio.to_thread.run_sync(export)
    found = {
        str(file.relative_to(tmp_path / "out")): file.read_bytes()
        for file in (tmp_path / "out").rglob("*")
        if file.is_file()
    }
    assert result.failed_count == 0, said
    assert {WEIRD, b"kept, changed", b"new"} <= set(found.values())
    assert found["d/up"] == WEIRD
    assert any("in its folder" in text for text in said)
    assert (await trio.to_thread.run_sync(export, "d/up", "alone")).files == 1
    assert (tmp_path / "alone").read_bytes() == WEIRD
    with pytest.raises(NotFound):
        await trio.to_thread.run_sync(export, "nowhere", "none")
