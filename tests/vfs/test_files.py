"""Open files: what counts as a close, what close waits for, what goes with the last handle (W1, W2, W4)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from remotefs.errors import AlreadyExists, FileTooBig, InvalidArgument, IsADirectory, NotFound, StateUnusable
from remotefs.store.records import ROOT_INO, ContentState
from remotefs.vfs.attributes import AttributeChange
from tests.failing import failing
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, Steps, User, rows_that_cannot_be_written, running

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
    with rows_that_cannot_be_written(host, "NEW.staged_gen IS NOT NULL"), pytest.raises(StateUnusable):
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


async def _truncated_by_open(host: Host) -> None:
    await host.close(await host.open("a", os.O_WRONLY | os.O_TRUNC))


async def _truncated_by_path(host: Host) -> None:
    """As the kernel asks for truncate(2) of a file with set-uid."""
    await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=0, mode=0o775), None)


@pytest.mark.parametrize("truncate", [_truncated_by_open, _truncated_by_path])
async def test_a_truncation_that_fails_at_the_attributes_leaves_the_bytes(
    host: Host, truncate: Callable[[Host], Awaitable[None]]
) -> None:
    await host.write("a", b"content")
    await host.settled()
    await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(mode=0o6775), None)
    with rows_that_cannot_be_written(host, "NEW.mode != OLD.mode"), pytest.raises(StateUnusable):
        await truncate(host)
    assert (host.stat("a").size, host.pending()) == (7, [])
    assert await host.read("a") == b"content"
    await truncate(host)
    assert (host.stat("a").size, stat.S_IMODE(host.stat("a").mode)) == (0, 0o775)


async def test_a_new_size_and_a_time_in_one_change(host: Host) -> None:
    await host.write("a", b"content")
    inode = await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=3, mtime_ns=5), None)
    assert (inode.size, inode.mtime_ns) == (3, 5)
    assert await host.read("a") == b"con"


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
    await host.parts.sweeper.sweep()
    assert host.parts.staging.scan() == []
    assert host.server.script.count("upload") == 0


async def test_w3_fsync_makes_it_survive(tmp_path: Path, server: Server, host: Host, steps: Steps) -> None:
    handle = await host.open("a", os.O_RDWR | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, b"x")
    steps()
    await host.fs.files.fsync(handle.fh)
    synced = [step for step in steps() if "on the disk" in step]
    assert [step.partition(" on the disk")[0] for step in synced] == ["staged bytes are", "names are", "database is"]
    host.kill_copy("after")
    await host.close(handle)
    async with running(tmp_path, server, state="after", working=False) as after:
        assert await after.read("a") == b"x"


async def test_the_root_cannot_be_opened_as_a_file(host: Host) -> None:
    with pytest.raises(IsADirectory):
        await host.fs.files.open(ROOT_INO, os.O_RDONLY, host.user)


# -- a disk that fails (H7)


@contextmanager
def failing_disk() -> Iterator[None]:
    """What is staged can be written, and cannot be synced, for as long as this lasts."""
    monkeypatch = pytest.MonkeyPatch()
    with failing(monkeypatch, "fdatasync", errno.EIO), failing(monkeypatch, "fsync", errno.EIO):
        yield


async def test_h7_an_fsync_that_failed_never_succeeds_for_these_bytes(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """However many other files were written since, and through whichever handle."""
    async with running(tmp_path, server, durability="local") as host:
        handle = await host.open("a", os.O_RDWR | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        with failing_disk(), pytest.raises(StateUnusable):
            await host.fs.files.fsync(handle.fh)
        for number in range(1100):
            host.parts.staging.create(1000 + number, 1)
        other = await host.open("a", os.O_RDWR)
        for _ in range(2):
            for fh in (handle.fh, other.fh):
                with pytest.raises(StateUnusable, match="write the whole file again"):
                    await host.fs.files.fsync(fh)
            with pytest.raises(StateUnusable):
                await host.fs.files.flush(handle.fh)


async def test_h7_written_anew_it_is_as_good_as_any(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        handle = await host.open("a", os.O_RDWR | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"hello")
        with failing_disk(), pytest.raises(StateUnusable):
            await host.fs.files.fsync(handle.fh)
        with pytest.raises(StateUnusable):
            await host.close(handle)
        await trio.sleep(100)
        assert host.stored() == []
        await host.write("a", b"again")
        await host.settled()
        assert host.remote_bytes("a") == [b"again"]
        assert await host.read("a") == b"again"
        await host.parts.sweeper.sweep()
        assert host.parts.staging.scan() == []


async def test_h7_no_writer_is_told_that_bytes_are_safe_whose_sync_failed(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """The first close makes the bytes of both writers the content; the second has nothing left to do but to wait."""
    async with running(tmp_path, server, durability="local") as host:
        one, two = await host.open("a", os.O_RDWR | os.O_CREAT), await host.open("a", os.O_RDWR)
        await host.fs.files.write(one.fh, 0, b"one")
        await host.fs.files.write(two.fh, 3, b"two")
        with failing_disk(), pytest.raises(StateUnusable):
            await host.fs.files.flush(one.fh)
        with pytest.raises(StateUnusable):
            await host.fs.files.flush(two.fh)


async def test_w2_the_second_of_two_writers_waits_for_the_service_too(host: Host, clock: Clock) -> None:
    one, two = await host.open("a", os.O_RDWR | os.O_CREAT), await host.open("a", os.O_RDWR)
    await host.fs.files.write(one.fh, 0, b"one")
    await host.fs.files.write(two.fh, 3, b"two")
    held = host.server.script.add(HoldReply(), op="upload")
    done = []

    async def close(fh: int) -> None:
        await host.fs.files.flush(fh)
        done.append(fh)

    async with trio.open_nursery() as nursery:
        for handle in (one, two):
            nursery.start_soon(close, handle.fh)
        await held.until_hit()
        await trio.sleep(1)
        assert done == []
        held.release()
    assert host.remote_bytes("a") == [b"onetwo"]


async def test_a_removal_that_failed_half_way_is_made_up_for(host: Host, clock: Clock) -> None:
    """Unlinked while open, and the last close could not be recorded."""
    await host.write("a", b"hello")
    handle = await host.open("a")
    ino = handle.ino
    host.parts.handles.looked_up(ino)
    host.unlink("a")
    host.parts.handles.close_file(handle.fh)
    await trio.sleep(61)
    await host.settled()
    assert host.stored() == []
    assert (host.parts.tree.get(ino).file_id, host.parts.staging.scan()) == (None, [])
