"""A kill between any two steps loses nothing that was acknowledged (W3, A3): the next start makes it whole."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import trio

from remotefs.store.records import NEVER_NS, ContentState
from remotefs.vfs.attributes import AttributeChange
from tests.faults import FaultyServer
from tests.parts import running

Server = FaultyServer
Clock = trio.abc.Clock


async def test_w3_what_was_never_closed_is_uploaded_as_it_was(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, server) as host:
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        await host.fs.files.fsync(handle.fh)
        await host.fs.files.write(handle.fh, 5, b" world")
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert "a was being written when the mount ended" in caplog.text
        assert host.stat("a").size == 11
        await host.settled()
        assert host.remote_bytes("a") == [b"hello world"]


async def test_a_size_that_was_only_noted_is_told_by_the_staged_file(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await host.write("a", b"long content")
        handle = await host.open("a", os.O_WRONLY)
        await host.fs.files.write(handle.fh, 20, b"more")
        await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=3), handle.fh)
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert (host.stat("a").size, host.remote_bytes("a")) == (3, [b"lon"])


async def test_closed_and_not_sent_it_goes_up(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"hello")
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert host.remote_bytes("a") == [b"hello"]
        assert await host.read("a") == b"hello"


async def test_confirmed_and_not_settled_it_becomes_content(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        await host.fs.files.flush(handle.fh)
        assert host.stat("a").state == ContentState.CLEAN
        assert host.stat("a").staged_gen is not None
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert host.stat("a").staged_gen is None
        assert host.parts.staging.scan() == []
        assert await host.read("a") == b"hello"
        assert host.pending() == []


async def test_settled_up_to_its_row_it_becomes_content(tmp_path: Path, server: Server, clock: Clock) -> None:
    """The bytes were adopted, the row still names the staged file."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"hello")
        host.parts.tree.update(host.stat("a").ino, staged_gen=1)
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert host.stat("a").staged_gen is None
        assert await host.read("a") == b"hello"


async def test_a_staged_file_without_a_row_is_removed(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"hello")
        host.parts.staging.create(host.stat("a").ino, 99)
        host.parts.staging.create(12345, 1)
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        await host.until(lambda: host.parts.staging.scan() == [])
        assert await host.read("a") == b"hello"


async def test_bytes_that_a_power_cut_took_are_said_aloud_and_the_file_goes_on(
    tmp_path: Path, server: Server, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The row reached the disk, the staged file had not been synced."""
    async with running(tmp_path, server, durability="local") as host:
        await host.write("good", b"fine")
        await host.write("known", b"before")
        await host.settled()
        for name in ("new", "known"):
            handle = await host.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            await host.fs.files.write(handle.fh, 0, b"lost")
        _lose_staged(host.kill_copy("after"))
    async with running(tmp_path, server, state="after") as host:
        assert [(r.name, r.levelno) for r in caplog.records].count((
            "remotefs.data.writeback.recovery",
            logging.ERROR,
        )) == 2
        assert (await host.read("good"), await host.read("known")) == (b"fine", b"before")
        assert host.xattr("known", "state") == "clean"
        await host.settled()
        assert host.remote_bytes("new") == [b""]
        assert host.remote_bytes("known") == [b"before"]


async def test_s3_what_lost_bytes_were_to_replace_is_shown_again_and_not_deleted(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Temp-and-rename, then a power cut."""
    old = server.store.add_generated("a", b"old").id
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.walk()
        handle = await host.open("t", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"new")
        host.rename("t", "a")
        _lose_staged(host.kill_copy("after"))
    async with running(tmp_path, server, state="after") as host:
        await host.walk()
        await host.settled()
        assert server.script.count("delete") == 0
        # The name itself is that of a new file, which is empty.
        assert host.remote_bytes("a") == [b"", b"old"]
        assert old in {host.stat(name).file_id for name in host.ls()}


async def test_w9_unlinked_while_open_it_is_gone_after_a_kill(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"hello")
        await host.confirm("a", "file_a")
        await host.write("b", b"hello")
        await host.open("a")
        handle = await host.open("b", os.O_RDWR)
        await host.fs.files.write(handle.fh, 0, b"J")
        host.unlink("a")
        host.unlink("b")
        assert host.deletes() == set()
        host.kill_copy("after")
    async with running(tmp_path, server, state="after", working=False) as host:
        assert (host.ls(), host.deletes()) == ([], {"file_a"})
        assert host.parts.staging.scan() == []
        assert host.parts.tree.unlinked() == []


async def test_an_intent_that_slept_is_woken(tmp_path: Path, server: Server, clock: Clock) -> None:
    """W5: renamed into place before its close, and never closed."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"old")
        await host.confirm("a", "file_old")
        handle = await host.open("new", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"new")
        host.rename("new", "a")
        host.kill_copy("after")
    async with running(tmp_path, server, state="after", working=False) as host:
        (intent,) = host.pending()
        assert (intent.replaces, intent.due_ns != NEVER_NS) == (("file_old",), True)
        await host.start_working()
        await host.settled()
        assert host.remote_bytes("a") == [b"new"]


async def test_content_of_ids_that_were_given_up_is_swept(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"hello")
        await host.confirm("a", "file_a")
        host.unlink("a")
        assert host.parts.content.has_all("file_a")
        host.kill_copy("after")
    async with running(tmp_path, server, state="after", working=False) as host:
        assert not host.parts.content.has_all("file_a")


async def test_a_kill_during_a_rename_of_ours_keeps_the_bytes(tmp_path: Path, server: Server, clock: Clock) -> None:
    """W7: the content waits in staging for the id that the new name gets."""
    async with running(tmp_path, server) as host:
        await host.write("a", b"hello")
        host.rename("a", "b")
        await host.parts.file_writer.stage(host.stat("b").ino)
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert await host.read("b") == b"hello"
        await host.settled()
        assert host.remote_bytes("b") == [b"hello"]
        assert host.remote_names() == ["b"]
        assert await host.read("b") == b"hello"


async def test_everything_is_there_at_the_next_start(tmp_path: Path, server: Server, clock: Clock) -> None:
    """N5: folders, links, modes, times and attributes live on."""
    async with running(tmp_path, server) as host:
        host.mkdir("d")
        host.mkdir("d/empty")
        await host.write("d/a", b"hello")
        host.link("d/a", "b")
        host.fs.namespace.symlink(host.stat("d").ino, b"l", b"../b", host.user)
        host.fs.xattrs.setxattr(host.stat("b").ino, b"user.x", b"1")
        await host.settled()
        before = host.stat("b")
    async with running(tmp_path, server) as host:
        assert (host.ls(), host.ls("d")) == (["b", "d"], ["a", "empty", "l"])
        assert host.stat("b")._replace(atime_ns=0) == before._replace(atime_ns=0)
        assert host.fs.xattrs.getxattr(before.ino, b"user.x") == b"1"
        assert host.fs.namespace.readlink(host.stat("d/l").ino) == b"../b"
        assert await host.read("d/a") == b"hello"


def _lose_staged(state: Path) -> None:
    for staged in (state / "staging").iterdir():
        staged.unlink()
