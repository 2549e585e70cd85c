"""Open files: what counts as a close, what close waits for, what goes with the last handle (W1, W2, W4)."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from remotefs.errors import AlreadyExists, FileTooBig, InvalidArgument, IsADirectory, NotFound
from remotefs.store.records import ROOT_INO, ContentState
from remotefs.vfs.attributes import AttributeChange
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, User, running

Server = FaultyServer
Clock = trio.abc.Clock


@pytest.fixture
async def host(tmp_path: Path, server: Server, clock: Clock) -> AsyncIterator[Host]:
    """A machine whose workers run; close waits."""
    async with running(tmp_path, server) as host:
        yield host


async def test_a_folder_is_not_opened_as_a_file(host: Host) -> None:
    host.mkdir("d")
    with pytest.raises(IsADirectory):
        await host.open("d")


async def test_create_exclusively(host: Host) -> None:
    await host.write("a", b"x")
    with pytest.raises(AlreadyExists):
        await host.open("a", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    assert await host.fs.files.read(handle.fh, 0, 5) == b"x"
    await host.close(handle)


async def test_w4_a_flush_before_the_first_write_is_none(host: Host) -> None:
    """A shell's `echo x > a` duplicates and closes the descriptor first."""
    handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.flush(handle.fh)
    assert host.server.script.count("upload") == 0
    await host.fs.files.write(handle.fh, 0, b"x")
    await host.close(handle)
    assert host.server.script.count("upload") == 1


async def test_w4_from_the_second_counted_close_on_it_acknowledges_at_once(host: Host) -> None:
    """A descriptor that forked children share."""
    handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"1")
    await host.fs.files.flush(handle.fh)
    assert host.remote_bytes("a") == [b"1"]
    held = host.server.script.add(HoldReply(), op="upload")
    await host.fs.files.write(handle.fh, 1, b"2")
    with trio.fail_after(5):
        await host.fs.files.flush(handle.fh)
    assert host.xattr("a", "state") in {"pending", "uploading"}
    held.release()
    await host.fs.files.release(handle.fh)
    await host.settled()
    assert host.remote_bytes("a") == [b"12"]


async def test_w4_release_uploads_what_flush_missed(host: Host) -> None:
    """A mapping is written after close."""
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.flush(handle.fh)
    await host.fs.files.write(handle.fh, 0, b"late")
    await host.fs.files.release(handle.fh)
    await host.settled()
    assert host.remote_bytes("a") == [b"late"]


async def test_w4_o_trunc_alone_is_a_new_content(host: Host) -> None:
    await host.write("a", b"old")
    await host.close(await host.open("a", os.O_WRONLY | os.O_TRUNC))
    await host.settled()
    assert host.remote_bytes("a") == [b""]


async def test_w4_truncate_without_a_handle_counts_as_a_close(host: Host) -> None:
    await host.write("a", b"hello")
    await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=2), None)
    await host.settled()
    assert host.remote_bytes("a") == [b"he"]


async def test_w4_ftruncate_waits_for_the_close(host: Host) -> None:
    await host.write("a", b"hello")
    handle = await host.open("a", os.O_RDWR)
    await host.fs.attributes.setattr(handle.ino, AttributeChange(size=2), handle.fh)
    assert (host.stat("a").state, host.remote_bytes("a")) == (ContentState.DIRTY, [b"hello"])
    await host.close(handle)
    await host.settled()
    assert host.remote_bytes("a") == [b"he"]


async def test_w2_close_does_not_wait_for_temporary_shapes_nor_for_what_stays(host: Host) -> None:
    host.server.script.add(HoldReply(), op="upload", times=None)
    with trio.fail_after(5):
        for name in ("a.swp", ".DS_Store", "empty"):
            await host.write(name, b"" if name == "empty" else b"x")
    assert host.xattr(".DS_Store", "state") == "local"


async def test_what_cannot_be_truncated_is_not_left_open(host: Host) -> None:
    await host.write("a", b"x")
    await host.settled()
    host.parts.staging.create(host.stat("a").ino, 2)  # in the way of the next generation
    with pytest.raises(AlreadyExists):
        await host.open("a", os.O_WRONLY | os.O_TRUNC)
    assert host.fs.handles.statistics().files == 0
    assert await host.read("a") == b"x"


@pytest.mark.parametrize(("uid", "kept"), [(0, 0o6775), (1000, 0o775)])
async def test_set_uid_goes_with_the_old_bytes(host: Host, uid: int, kept: int) -> None:
    await host.write("a", b"x")
    ino = host.stat("a").ino
    await host.fs.attributes.setattr(ino, AttributeChange(mode=0o6775), None)
    host.user = User(uid=uid)
    await host.close(await host.open("a", os.O_WRONLY | os.O_TRUNC))
    assert stat.S_IMODE(host.stat("a").mode) == kept


async def test_atime_moves_when_it_is_older_than_the_last_change(host: Host) -> None:
    await host.write("a", b"x")
    before = host.stat("a").atime_ns
    await host.read("a")
    first = host.stat("a").atime_ns
    assert first > before
    await host.read("a")
    assert host.stat("a").atime_ns == first


async def test_a_handle_that_is_none(host: Host) -> None:
    for verb in (host.fs.files.flush, host.fs.files.fsync, host.fs.files.release):
        with pytest.raises(InvalidArgument):
            await verb(99)
    with pytest.raises(InvalidArgument):
        await host.fs.files.read(99, 0, 1)
    with pytest.raises(NotFound):
        await host.fs.files.open(99, os.O_RDONLY, host.user)


async def test_a_refused_write_leaves_the_rest_to_be_closed(tmp_path: Path, server: Server, host: Host) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"good")
    with pytest.raises(FileTooBig):
        await host.fs.files.write(handle.fh, 500 << 20, b"x")
    await host.close(handle)
    assert host.remote_bytes("a") == [b"good"]


async def test_an_unlinked_file_that_two_have_open(host: Host) -> None:
    """W9."""
    one = await host.open("a", os.O_RDWR | os.O_CREAT)
    two = await host.open("a", os.O_RDWR)
    host.unlink("a")
    await host.fs.files.write(one.fh, 0, b"x")
    await host.close(one)
    assert await host.fs.files.read(two.fh, 0, 5) == b"x"
    await host.close(two)
    await host.parts.filedata.sweep()
    assert host.parts.staging.scan() == []
    assert host.server.script.count("upload") == 0


async def test_w3_fsync_makes_it_survive(tmp_path: Path, server: Server, host: Host) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"x")
    await host.fs.files.fsync(handle.fh)
    host.kill_copy("after")
    await host.close(handle)
    async with running(tmp_path, server, state="after", working=False) as after:
        assert await after.read("a") == b"x"


async def test_the_root_cannot_be_opened_as_a_file(host: Host) -> None:
    with pytest.raises(IsADirectory):
        await host.fs.files.open(ROOT_INO, os.O_RDONLY, host.user)
