"""A call of the disk or of the database fails in the middle of a write: what was acknowledged is as it was (W1, H7)."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from remotefs.errors import LocalError, OutOfSpace, StateUnusable
from remotefs.mount.check.inspection import check_state
from remotefs.vfs.attributes import AttributeChange
from tests.failing import failing, unreadable_rows
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock
_OLD = b"what was acknowledged " * 100


@pytest.fixture
async def host(tmp_path: Path, server: Server, clock: Clock) -> AsyncIterator[Host]:
    """A machine whose workers rest."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        yield host


def staged(host: Host, path: str) -> Path:
    """The staged file of a path."""
    inode = host.stat(path)
    assert inode.staged_gen is not None
    return host.parts.staging.place(inode.ino, inode.staged_gen)


async def goes_up(host: Host, content: bytes) -> None:
    """`a` is sent, and is this."""
    assert await host.read("a") == content
    assert await check_state(host.parts) == []
    await host.start_working()
    await host.parts.closer.close_all()
    await host.settled()
    assert host.remote_bytes("a")[:1] == [content]


async def test_what_could_not_be_emptied_has_its_bytes(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.write("a", _OLD)
    with failing(monkeypatch, "ftruncate", errno.ENOSPC), pytest.raises(OutOfSpace):
        await host.open("a", os.O_WRONLY | os.O_TRUNC)
    await goes_up(host, _OLD)


@pytest.mark.parametrize("size", [0, 3])
async def test_what_the_service_has_is_cut_or_it_is_not(host: Host, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The copy has its length from the start."""
    host.server.store.add_generated("a", _OLD)
    await host.walk()
    with failing(monkeypatch, "ftruncate", errno.ENOSPC, nth=1 if size == 0 else 1000):
        await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=size), None)
    assert host.stat("a").size == staged(host, "a").stat().st_size == size
    await goes_up(host, _OLD[:size])


async def test_a_row_and_its_bytes_are_of_one_length_if_no_row_can_be_read_after_a_write(host: Host) -> None:
    await host.write("a", _OLD)
    handle, file = await host.open("a", os.O_WRONLY), staged(host, "a")
    with unreadable_rows(host, lambda: file.stat().st_size > len(_OLD)):
        await host.fs.files.write(handle.fh, len(_OLD), b"more")
    await host.close(handle)
    await goes_up(host, _OLD + b"more")


async def test_a_row_and_its_bytes_are_of_one_length_if_the_disk_takes_a_part(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.write("a", _OLD)
    handle = await host.open("a", os.O_WRONLY)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:2], offset))
    with failing(monkeypatch, "pwrite", errno.ENOSPC, nth=2), pytest.raises(OutOfSpace):
        await host.fs.files.write(handle.fh, len(_OLD), b"more")
    monkeypatch.undo()
    await host.close(handle)
    await goes_up(host, _OLD + b"mo")


async def test_a_sync_that_was_not_tried_has_not_failed(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """There were no descriptors for a moment."""
    await host.walk()
    handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, _OLD)
    with failing(monkeypatch, "dup", errno.EMFILE), pytest.raises(StateUnusable, match="Too many open files"):
        await host.fs.files.fsync(handle.fh)
    await host.fs.files.fsync(handle.fh)
    await host.close(handle)
    await goes_up(host, _OLD)


async def test_bytes_that_have_moved_are_read_though_a_sync_failed_after_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staged file has become content, and the name of that is not on the disk for good yet."""
    await host.walk()
    await host.write("a", _OLD)
    place = staged(host, "a")
    with failing(monkeypatch, "fsync", errno.ENOSPC, when=lambda _: not place.exists()), pytest.raises(LocalError):
        await host.confirm("a", "file_a")
    assert await host.read("a") == _OLD
    host.kill_copy("after")
    async with running(host.state_dir.parent, host.server, state="after") as after:
        assert await after.read("a") == _OLD
        assert await check_state(after.parts) == []


def staging(host: Host) -> list[str]:
    """What lies in the staging folder."""
    return os.listdir(host.state_dir / "staging")


async def test_staged_bytes_that_could_not_be_removed_go_later(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server, durability="local", upload_delay_s=3600.0) as host:
        await host.write("a", _OLD)
        with failing(monkeypatch, "unlink", errno.EROFS):
            host.unlink("a")
            await trio.sleep(300.0)
            assert len(staging(host)) == 1
        await host.until(lambda: not staging(host))
        assert await check_state(host.parts) == []


async def test_content_that_could_not_be_removed_goes_later(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", _OLD)
        await host.settled()
        content = host.parts.content.where(host.id("a"))
        assert content.exists()
        with failing(monkeypatch, "unlink", errno.EIO):
            host.unlink("a")
            await trio.sleep(300.0)
            await host.settled()
            assert content.exists()
        await host.until(lambda: not content.exists())
        assert await check_state(host.parts) == []


async def test_one_that_cannot_be_removed_keeps_no_other(
    tmp_path: Path, server: Server, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, server, durability="local", upload_delay_s=3600.0) as host:
        await host.write("a", _OLD)
        await host.write("b", _OLD)
        stuck = staged(host, "a")
        with failing(monkeypatch, "unlink", errno.EIO, when=lambda path, *_: Path(path) == stuck):
            host.unlink("a")
            host.unlink("b")
            await host.until(lambda: len(staging(host)) == 1)


@pytest.mark.parametrize(("call", "nth"), [("fstat", 1), ("unlink", 1), ("open", 3), ("fdatasync", 1)])
@pytest.mark.parametrize("content", [b"", _OLD])
async def test_a_write_that_failed_at_its_begin_leaves_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, call: str, nth: int, content: bytes
) -> None:
    """Of a new file as of a copy."""
    host.server.store.add_generated("a", content)
    await host.walk()
    if content:
        await host.read("a")
    handle = await host.open("a", os.O_WRONLY)
    with failing(monkeypatch, call, errno.EIO, nth=nth, when=_is_staging), suppress(StateUnusable):
        await host.fs.files.write(handle.fh, 0, b"WHAT")
    await host.close(handle)
    named = {f"{inode.ino}-{inode.staged_gen}" for inode in host.parts.tree.staged()}
    assert {name for name in staging(host) if not name.endswith(".part")} == named


def _is_staging(path: object, *_: object) -> bool:
    return isinstance(path, int) or "staging" in str(path)


async def test_content_that_nobody_must_read_again_is_not_read_because_it_cannot_be_removed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = host.parts.content
    content.put("file_1", len(_OLD), 0, _OLD)
    assert content.read("file_1", 0, 4) == b"what"
    with failing(monkeypatch, "unlink", errno.EROFS), pytest.raises(OSError, match="Read-only"):
        content.remove("file_1")
    assert content.read("file_1", 0, 4) is None
    content.remove("file_1")
    assert not content.where("file_1").exists()


@pytest.mark.long
async def test_a_database_that_fails_while_an_upload_is_bound_ends_no_worker(host: Host) -> None:
    """What notes the failure fails too, and so does what keeps the sums of the bytes."""
    held = host.server.script.add(HoldReply(), op="upload", times=1)
    await host.write("a", _OLD)
    await host.start_working()
    await held.until_hit()
    with unreadable_rows(host):
        held.release()
        await trio.sleep(5)
    await host.settled()
    assert host.remote_bytes("a") == [_OLD]
