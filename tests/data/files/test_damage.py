"""A closed staged file whose bytes are not what was closed is damaged, not edited: it never goes up (R3, W3)."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from remotefs.check.findings import Kind
from remotefs.clocks import Machine
from remotefs.config import MIB
from remotefs.data.files.integrity import Evidence, Verdict, judge
from remotefs.errors import CorruptionError
from remotefs.fuse.translate import errno_of
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.store.records import ContentState
from remotefs.vfs.attributes import AttributeChange
from tests.faults import FaultyServer, HoldReply, Reply
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock
Damage = Callable[[Path], None]
_OLD, _NEW = b"the old content", bytes(range(256)) * 2048


def flip(file: Path) -> None:
    """Another byte in the middle, as a bad disk leaves it: at no new time."""
    times = file.stat()
    with file.open("r+b") as raw:
        raw.seek(len(_NEW) // 2)
        raw.write(b"\xff\xfe")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def overwrite(file: Path) -> None:
    """As `dd conv=notrunc` does, long after the close."""
    flip(file)
    later = time.time_ns() + 10**10
    os.utime(file, ns=(later, later))


def cut(file: Path) -> None:
    """Shorter."""
    os.truncate(file, len(_NEW) - 7)


def cut_at_no_new_time(file: Path) -> None:
    """Shorter, as a file system that was repaired leaves it."""
    times = file.stat()
    os.truncate(file, 10)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def grow(file: Path) -> None:
    """Longer, as a file system that was repaired leaves it: at no new time."""
    times = file.stat()
    with file.open("ab") as raw:
        raw.write(b"\xff" * 100)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def staged(host: Host, path: str) -> Path:
    """The staged file of a path."""
    inode = host.stat(path)
    assert inode.staged_gen is not None
    return host.parts.staging.place(inode.ino, inode.staged_gen)


async def closed_and_waiting(host: Host, path: str = "a") -> None:
    """A file that the service has in an older version, and a newer one that waits for its upload with its sums."""
    host.parts.timekeeper.note()
    await host.write(path, _OLD)
    await host.confirm(path, "file_old")
    await host.write(path, _NEW)
    await host.parts.summing.look()
    await host.parts.summing.look()


async def refused(host: Host) -> None:
    """The upload has been tried, and its reason is known."""
    host.make_due()
    await host.until(lambda: any(i.reason and "damaged" in i.reason for i in host.pending()))


@pytest.mark.parametrize("damage", [flip, overwrite, cut, cut_at_no_new_time])
async def test_what_was_damaged_before_a_mount_never_goes_up(
    tmp_path: Path, server: Server, clock: Clock, damage: Damage
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        damage(staged(host, "a"))
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        await refused(host)
        await trio.sleep(4 * 3600.0)
        assert (server.script.count("upload"), server.script.count("delete")) == (0, 0)
        assert host.xattr("a", "state") == "failed: its bytes on this disk are damaged"
        assert (host.stat("a").size, host.id("a")) == (len(_NEW), "file_old")
        assert [finding.path for finding in await check_state(host.parts)] == ["a"]
        with pytest.raises(CorruptionError, match="damaged"):
            await host.read("a")
        host.kill_copy("again")
    async with running(tmp_path, server, state="again") as host:
        assert host.xattr("a", "state") == "failed: its bytes on this disk are damaged"
        await host.write("a", b"written again")
        await host.settled()
        assert host.remote_bytes("a") == [b"written again"]
        await host.parts.summing.look()
        assert os.listdir(host.state_dir / "staging") == []


@pytest.mark.parametrize("summed", [True, False])
async def test_a_closed_file_whose_bytes_are_missing_is_damaged_until_they_are_put_back(
    tmp_path: Path, server: Server, clock: Clock, summed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither nothing nor the version before is shown in their place, and nothing goes up (R3)."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        if summed:
            await closed_and_waiting(host)
        else:
            await host.write("a", _OLD)
            await host.confirm("a", "file_old")
            await host.write("a", _NEW)
        await host.write("empty", b"before")
        await host.confirm("empty", "file_before")
        await host.write("empty", b"")
        staged(host, "empty").unlink()
        place = staged(host, "a")
        place.rename(tmp_path / "aside")
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert "a: what was last written to it is missing" in caplog.text
        await host.until(lambda: len(host.pending()) == 1)
        assert (await host.read("empty"), host.remote_names()) == (b"", ["empty"])
        await is_damaged(host, "a", file_id="file_old")
        host.kill_copy("again")
    (tmp_path / "aside").rename(tmp_path / "again" / "staging" / place.name)
    async with running(tmp_path, server, state="again") as host:
        await host.settled()
        assert host.remote_bytes("a") == [_NEW]
    async with running(tmp_path, server, state="after") as host:
        await host.write("a", b"written again")
        await host.settled()
        assert await host.read("a") == b"written again"


async def is_damaged(host: Host, path: str, *, file_id: str | None) -> None:
    """What is shown of a file whose only bytes are not there, and that it never goes up."""
    sent = host.server.script.count("upload"), host.server.script.count("delete")
    await host.until(lambda: any(i.reason and "is missing" in i.reason for i in host.pending()))
    for _ in range(2):
        host.make_due()
        await trio.sleep(60.0)
    assert (host.server.script.count("upload"), host.server.script.count("delete")) == sent
    assert host.xattr(path, "state") == "failed: its bytes on this disk are damaged"
    assert (host.stat(path).size, host.stat(path).file_id) == (len(_NEW), file_id)
    assert host.parts.damaged_staged() == [path]
    assert [(f.path, f.kind) for f in await check_state(host.parts)] == [(path, Kind.NO_BYTES)]
    with pytest.raises(CorruptionError, match="missing") as caught:
        await host.read(path)
    assert errno_of(caught.value)[0] == errno.EIO
    handle = await host.open(path, os.O_WRONLY)
    with pytest.raises(CorruptionError):
        await host.fs.files.write(handle.fh, 0, b"J")
    await host.close(handle)


async def test_a_closed_file_whose_bytes_vanish_under_a_mount_is_damaged(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    server.script.add(Reply(503), op="upload", times=1)
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", _NEW)
        await host.until(lambda: server.script.count("upload") == 1)
        await host.until(lambda: not host.parts.in_flight.under_way)
        place = staged(host, "a")
        host.parts.staging.discard(*map(int, place.name.split("-")))
        await is_damaged(host, "a", file_id=None)
        host.rename("a", "b")
        await is_damaged(host, "b", file_id=None)
        await host.write("b", b"written again")
        await host.settled()
        assert host.remote_bytes("b") == [b"written again"]


async def test_a_removed_file_whose_upload_has_no_reply_yet_is_not_damaged(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Its bytes have gone; its row waits for the id in the reply, which has to go too (W9)."""
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(HoldReply(), op="upload", times=None)
        await host.write("a", _NEW)
        handle, place = await host.open("a"), staged(host, "a")
        await held.until_hit()
        await host.parts.summing.look()
        host.unlink("a")
        await host.close(handle)
        await host.until(lambda: not place.exists())
        # As after many other uploads.
        host.parts.staging.sums._recent.clear()
        await host.parts.summing.look()
        assert not host.parts.staging.sums.damaged
        assert await check_state(host.parts, Scope(working=True)) == []
        server.script.clear()
        await host.settled()
        assert host.remote_names() == []


async def test_the_part_that_is_not_damaged_can_be_read(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        flip(staged(host, "a"))
        handle = await host.open("a")
        assert await host.fs.files.read(handle.fh, 0, 1000) == _NEW[:1000]
        with pytest.raises(CorruptionError):
            await host.fs.files.read(handle.fh, len(_NEW) // 2, 1000)
        assert await host.fs.files.read(handle.fh, len(_NEW) - 10, 10) == _NEW[-10:]


async def test_damaged_bytes_are_no_part_of_an_edit(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        flip(staged(host, "a"))
        handle = await host.open("a", os.O_WRONLY)
        with pytest.raises(CorruptionError):
            await host.fs.files.write(handle.fh, 0, b"J")
        with pytest.raises(CorruptionError):
            await host.fs.attributes.setattr(host.stat("a").ino, AttributeChange(size=100), handle.fh)
        await host.close(handle)
        assert host.stat("a").state == ContentState.CLOSED
        host.unlink("a")
        assert host.ls() == []


async def test_a_copy_over_itself_takes_the_bytes_as_they_are(tmp_path: Path, server: Server, clock: Clock) -> None:
    """`cp STATE/staging/… MOUNT/a`: the source stays whole although the target is cut first."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        flip(staged(host, "a"))
        with pytest.raises(CorruptionError):
            await host.read("a")
        with staged(host, "a").open("rb") as source:
            handle = await host.open("a", os.O_WRONLY | os.O_TRUNC)
            await host.fs.files.write(handle.fh, 0, source.read())
            await host.close(handle)
        assert host.xattr("a", "state") == "pending"
        assert len(await host.read("a")) == len(_NEW)


async def test_a_retry_compares_with_the_first_try(tmp_path: Path, server: Server, clock: Clock) -> None:
    server.script.add(Reply(503), op="upload", times=1)
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", _NEW)
        await host.until(lambda: server.script.count("upload") == 1)
        await host.until(lambda: not host.parts.in_flight.under_way)
        flip(staged(host, "a"))
        await refused(host)
        assert (server.script.count("upload"), host.remote_names()) == (1, [])


async def test_confirmed_bytes_that_are_damaged_are_not_taken_for_an_edit(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        host.parts.timekeeper.note()
        handle = await host.open("a", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, _NEW)
        await host.fs.files.flush(handle.fh)
        overwrite(staged(host, "a"))
        host.kill_copy("after")
    uploads = server.script.count("upload")
    async with running(tmp_path, server, state="after") as host:
        await trio.sleep(3600.0)
        assert (server.script.count("upload"), host.remote_bytes("a")) == (uploads, [_NEW])
        assert host.xattr("a", "state") == "failed: its bytes on this disk are damaged"
        with pytest.raises(CorruptionError):
            await host.read("a")


async def test_what_lies_behind_the_end_of_a_closed_file_is_cut_off(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """Of one that waits for its upload, and of one that the service has while a program has it open."""
    async with running(tmp_path, server, durability="local") as host:
        handle = await host.open("sent", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, _OLD)
        await host.fs.files.flush(handle.fh)
        await host.settled()
        server.script.add(Reply(503), op="upload", times=None)
        await host.write("waiting", _NEW)
        await host.parts.summing.look()
        await host.parts.summing.look()
        for path in ("sent", "waiting"):
            grow(staged(host, path))
        host.kill_copy("after")
    server.script.clear()
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert (await host.read("sent"), await host.read("waiting")) == (_OLD, _NEW)
        assert (host.remote_bytes("sent"), host.remote_bytes("waiting")) == ([_OLD], [_NEW])
        assert await check_state(host.parts) == []


async def test_a_folder_copied_without_its_times_is_whole(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        later = time.time_ns() + 10**10
        os.utime(staged(host, "a"), ns=(later, later))
        host.kill_copy("after")
    async with running(tmp_path, server, state="after") as host:
        assert host.xattr("a", "state") == "pending"
        await host.settled()
        assert host.remote_bytes("a") == [_NEW]


async def test_what_a_power_cut_leaves_of_an_edit_is_the_edit(tmp_path: Path, server: Server, clock: Clock) -> None:
    """The machine was started again, and the row that said that the file was written is gone."""
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        overwrite(staged(host, "a"))
        content = staged(host, "a").read_bytes()
        host.kill_copy("after")
    async with running(tmp_path, server, state="after", machine=Machine(boot_id="the next run")) as host:
        await host.settled()
        assert host.remote_bytes("a") == [content]


async def test_an_older_database_beside_a_newer_version_does_not_call_it_damaged(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await closed_and_waiting(host)
        before = host.kill_copy("before")
        await host.write("a", b"shorter")
        await host.parts.summing.look()
        await host.parts.summing.look()
        after = host.kill_copy("after")
        for file in before.glob("state.db*"):
            (after / file.name).write_bytes(file.read_bytes())
    async with running(tmp_path, server, state="after") as host:
        await host.settled()
        assert host.remote_bytes("a") == [b"shorter"]


async def test_sums_are_made_of_what_waits_and_go_with_it(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        await host.write("a", b"x" * MIB)
        await host.parts.summing.look()
        assert len(os.listdir(host.state_dir / "staging")) == 1
        await host.parts.summing.look()
        name = staged(host, "a").name
        assert set(os.listdir(host.state_dir / "staging")) == {name, f"{name}.sums"}
        await host.write("a", b"other")
        await host.parts.summing.look()
        assert len(os.listdir(host.state_dir / "staging")) == 1


_EVIDENCE = st.builds(
    Evidence,
    is_dirty=st.booleans(),
    recorded_size=st.integers(0, 3),
    found_size=st.integers(0, 3),
    is_later=st.booleans(),
    matches=st.none() | st.booleans(),
    matches_later_version=st.booleans(),
    has_whole_head=st.booleans(),
    was_damaged=st.booleans(),
    was_restarted=st.booleans(),
)


@given(_EVIDENCE)
def test_what_is_certainly_not_what_was_closed_is_sent_only_if_a_lost_row_explains_it(evidence: Evidence) -> None:
    verdict = judge(evidence)
    if evidence.is_dirty or (evidence.matches_later_version and not evidence.matches):
        assert verdict is Verdict.WRITTEN
    elif evidence.matches:
        assert verdict is Verdict.WHOLE
    elif (
        evidence.found_size < evidence.recorded_size
        or evidence.was_damaged
        or (evidence.matches is False and not (evidence.was_restarted and evidence.is_later))
    ):
        is_overlong = evidence.has_whole_head and not evidence.is_later
        assert verdict is (Verdict.OVERLONG if is_overlong else Verdict.DAMAGED)


@given(_EVIDENCE)
def test_more_doubt_never_sends_more(evidence: Evidence) -> None:
    if judge(evidence) is Verdict.DAMAGED:
        assert judge(evidence._replace(was_damaged=True)) is Verdict.DAMAGED
        assert judge(evidence._replace(was_restarted=False)) is Verdict.DAMAGED
    if judge(evidence) is Verdict.WHOLE:
        assert not evidence.is_dirty
        assert evidence.matches or (evidence.found_size == evidence.recorded_size and evidence.matches is None)


def _cut_sums(sums: Path) -> None:
    os.truncate(sums, 0)


def _flip_header(sums: Path) -> None:
    sums.write_bytes(b"\xff" + sums.read_bytes()[1:])


def _flip_sum(sums: Path) -> None:
    sums.write_bytes(sums.read_bytes()[:-1] + b"\xff")


@pytest.mark.parametrize("harm", [_cut_sums, _flip_header, _flip_sum])
@pytest.mark.parametrize("bytes_too", [False, True])
async def test_content_whose_sums_are_damaged_is_read_if_its_bytes_are_whole(
    tmp_path: Path, server: Server, clock: Clock, harm: Damage, bytes_too: bool
) -> None:
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", _NEW)
        await host.write("b", _NEW + b"more")
        await host.settled()
        for name in ("a", "b"):
            data, sums = host.parts.content.files_of(host.id(name))
            harm(sums)
            if bytes_too:
                flip(data)
        host.kill_copy("after")
    async with running(tmp_path, server, state="after", durability="local") as host:
        if bytes_too:
            with pytest.raises(CorruptionError):
                await host.read("a")
            assert host.parts.file_reader.is_damaged(host.stat("a"))
        else:
            assert await host.read("a") == _NEW
            handle = await host.open("b", os.O_WRONLY)
            await host.fs.files.write(handle.fh, 0, b"J")
            await host.close(handle)
            await host.settled()
            assert host.remote_bytes("b") == [b"J" + _NEW[1:] + b"more"]
        damaged = ["a", "b"] if bytes_too else []
        assert sorted(f.path for f in await check_state(host.parts)) == damaged
