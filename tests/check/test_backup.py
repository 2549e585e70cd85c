"""`backup`: a copy of a live state folder that can be mounted, whatever is done while it is made."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from remotefs.config import Config
from remotefs.control.messages.check import BackupParams, ExportResult
from remotefs.errors import AlreadyExists, InvalidArgument
from remotefs.mount import offline
from remotefs.mount.check.inspection import Scope, check_state
from tests.between import Between, at_every_step
from tests.commands import commands
from tests.faults import FaultyServer, Reply
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock
LARGE = bytes(range(256)) * 4000


async def backed_up(host: Host, target: Path) -> ExportResult:
    checking = commands(host).check
    return await checking.backup(BackupParams(target=str(target)), lambda _: None)


@asynccontextmanager
async def populated(folder: Path, server: Server) -> AsyncIterator[Host]:
    """Pinned uploads, an edit and a new file that wait, one that is being written, one in the trash."""
    async with running(folder, server, durability="local") as host:
        host.mkdir("d")
        await host.write("d/ours", LARGE)
        await host.write("edited", b"old")
        await host.settled()
        server.script.add(Reply(500), op="upload", times=None)
        await host.write("edited", b"new")
        await host.write("waits", b"waiting")
        handle = await host.open("writing", os.O_WRONLY | os.O_CREAT)
        await host.fs.files.write(handle.fh, 0, b"half")
        source = folder / "thrown away"
        source.write_bytes(b"rubbish")
        host.parts.trash.put(
            source, path="gone", file_id="file_gone", size=7, mode=0o100644, mtime_ns=1, reason="deleted elsewhere"
        )
        yield host
        await host.close(handle)


async def contents(folder: Path, server: Server, state: str) -> dict[str, bytes]:
    """What a mount of a copy shows, and its check finds nothing wrong with."""
    async with running(folder, server, state=state, working=False) as copy:
        paths = [f"{prefix}{name}" for prefix in ("", "d/") for name in copy.ls(prefix.rstrip("/"))]
        shown = {path: await copy.read(path) for path in paths if copy.stat(path).is_file}
        assert await check_state(copy.parts, Scope()) == []
        assert [copy.parts.trash.bytes_of(e.number).read_bytes() for e in copy.parts.trash.entries()] == [b"rubbish"]
        return shown


ALL = {"d/ours": LARGE, "edited": b"new", "waits": b"waiting", "writing": b"half"}


async def test_a_copy_of_a_working_mount_has_all_that_only_it_has(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with populated(tmp_path, server) as host:
        result = await backed_up(host, tmp_path / "copy")
        # Beside what can be seen: what an edit replaces, and is the service's still; what is thrown away.
        data = sum(map(len, [*ALL.values(), b"old", b"rubbish"]))
        assert (result.failed_count, result.bytes) == (0, data + sums(host))
        left = {intent.ino for intent in host.pending()}
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    assert await contents(tmp_path, server, "copy") == ALL
    async with running(tmp_path, server, state="copy", working=False) as copy:
        assert {intent.ino for intent in copy.pending()} == left
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []


def sums(host: Host) -> int:
    """Bytes of all that is no bytes of a user: sums, and the records of the trash."""
    others = [*host.state_dir.glob("content/*/*.pinned"), *host.state_dir.glob("trash/*.json")]
    return sum(file.stat().st_size for file in others)


def _write_more(host: Host) -> None:
    inode = host.stat("waits")
    assert inode.staged_gen is not None
    host.parts.staging.open(inode.ino, inode.staged_gen).write(0, b"WAITING")


def _release(host: Host) -> None:
    host.server.script.clear()
    host.make_due()


# What a user or the mount may do to the files of the copy while it is made.
ACTS: dict[str, Callable[[Host], object]] = {
    "unlink what is pinned": lambda host: host.unlink("d/ours"),
    "unlink what waits": lambda host: host.unlink("waits"),
    "write over what waits": _write_more,
    "rename": lambda host: host.rename("waits", "waited"),
    "upload all that waits": _release,
}


async def back_up_and_act(folder: Path, server: Server, name: str, nth: int) -> int:
    """Act between two steps; the steps of the backup. Each file is in the copy, as it was before or after the act."""
    async with populated(folder, server) as host:
        with Between("CheckCommands.backup", nth, lambda: ACTS[name](host)) as between:
            async with trio.open_nursery() as nursery:
                checking = commands(host).check
                nursery.start_soon(checking.backup, BackupParams(target=str(folder / "copy")), lambda _: None)
        await trio.sleep(5)
    shown = await contents(folder, server, "copy")
    waits = {shown.pop("waits", None), shown.pop("waited", None)} - {None}
    assert waits in ({b"waiting"}, {b"WAITING"}, set() if name == "unlink what waits" else {b"waiting"})
    expected = {path: data for path, data in ALL.items() if path != "waits"}
    if name == "unlink what is pinned":
        assert shown.setdefault("d/ours", LARGE) == LARGE
    assert shown == expected
    return between.seen


@pytest.mark.parametrize(("name", "nth"), [(name, 3 + 7 * number) for number, name in enumerate(ACTS)])
async def test_it_is_whole_whatever_happens_between_two_steps_of_it(
    tmp_path: Path, server: Server, clock: Clock, name: str, nth: int
) -> None:
    assert await back_up_and_act(tmp_path, server, name, nth) > nth


@pytest.mark.long
@pytest.mark.parametrize("name", ACTS)
async def test_it_is_whole_whatever_happens_between_any_two_steps_of_it(
    tmp_path: Path, clock: Clock, name: str
) -> None:
    await at_every_step(tmp_path, lambda folder, server, nth: back_up_and_act(folder, server, name, nth))


def staged(host: Host) -> list[str]:
    """The staged files, without their sums."""
    return [name for name in os.listdir(host.state_dir / "staging") if not name.endswith(".sums")]


async def test_what_is_given_up_meanwhile_goes_afterwards(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with populated(tmp_path, server) as host:
        with host.parts.intents.garbage.hold():
            host.unlink("d/ours")
            host.unlink("waits")
            await trio.sleep(100)
            assert len(staged(host)) == 3
            assert len(list(host.state_dir.glob("content/*/*.pinned"))) == 2
        await host.until(lambda: len(staged(host)) == 2)
        await host.until(lambda: len(list(host.state_dir.glob("content/*/*.pinned"))) == 1)


async def test_a_writer_waits_for_no_file_but_its_own(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with (
        populated(tmp_path, server) as host,
        trio.open_nursery() as nursery,
        host.parts.locks.hold(host.stat("waits").ino),
    ):
        nursery.start_soon(backed_up, host, tmp_path / "copy")
        await trio.sleep(5)
        with trio.fail_after(1):
            await host.write("other", b"written")
            await host.write("edited", b"newer")
    assert (await contents(tmp_path, server, "copy"))["edited"] in (b"new", b"newer")


async def test_it_goes_to_another_disk_too(tmp_path: Path, server: Server, clock: Clock) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        async with populated(tmp_path, server) as host:
            assert (await backed_up(host, Path(other) / "copy")).failed_count == 0
        shutil.copytree(Path(other) / "copy", tmp_path / "copy")
    assert await contents(tmp_path, server, "copy") == ALL


async def test_a_folder_that_is_in_use_is_refused_and_a_failure_leaves_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with populated(tmp_path, server) as host:
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "precious").touch()
        with pytest.raises(AlreadyExists, match="not empty"):
            await backed_up(host, tmp_path / "full")
        with pytest.raises(InvalidArgument, match="state folder itself"):
            await backed_up(host, host.state_dir / "copy")
        with pytest.raises(InvalidArgument, match="make it first"):
            await backed_up(host, tmp_path / "no" / "copy")
        (tmp_path / "empty").mkdir()
        assert (await backed_up(host, tmp_path / "empty")).failed_count == 0
        os.unlink(host.parts.staging.place(host.stat("waits").ino, host.stat("waits").content_gen))
        result = await backed_up(host, tmp_path / "copy")
        assert [("No such file" in left.reason) for left in result.failed] == [True]


async def test_without_a_mount_a_state_folder_is_copied_as_well(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with populated(tmp_path, server) as host:
        state = host.state_dir
    result = await trio.to_thread.run_sync(
        lambda: offline.backup(state, Config(), tmp_path / "copy", report=lambda _: None)
    )
    assert result.failed_count == 0
    assert await contents(tmp_path, server, "copy") == ALL
