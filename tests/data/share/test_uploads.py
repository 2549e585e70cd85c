"""What one machine uploads lies in the shared store, and every machine of the account reads it (X1, X2, X5)."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config, SharedConfig
from remotefs.errors import CorruptionError, NotReadable, ObjectStoreUnusable, RemotefsError, TransportError
from remotefs.mount.check.inspection import check_state
from remotefs.mount.commands.pending import PendingReasons
from tests.faults import FaultyServer, Reply
from tests.parts import FOR_EVER_S, Host, running

Server = FaultyServer
Clock = trio.abc.Clock
_LARGE = os.urandom(3_000_000)


@asynccontextmanager
async def machine(
    tmp_path: Path,
    server: Server,
    folder: Path,
    name: str,
    *,
    requests_per_minute: int = 0,
    idle_after_s: float = 86_400.0,
    **settings: object,
) -> AsyncIterator[Host]:
    """A machine of that name with the shared store; it has listed the service, and somebody uses it all day."""

    def shared(config: Config) -> Config:
        # The age that a listing must have counts by a clock that no test moves.
        refresh = msgspec.structs.replace(config.refresh, removal_min_age_s=0.0, idle_after_s=idle_after_s)
        service = msgspec.structs.replace(config.service, requests_per_minute=requests_per_minute)
        store = SharedConfig(store=f"file://{folder}")
        return msgspec.structs.replace(config, refresh=refresh, service=service, shared=store)

    async with running(tmp_path, server, state=name, change=shared, **settings) as host:  # type: ignore[arg-type] - any setting
        await host.walk()
        yield host


def objects(folder: Path) -> list[Path]:
    """The objects with content."""
    return sorted(path for path in folder.glob("*/c/*/*") if path.is_file())


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return os.listdir(folder)


def put_aside(file: Path, place: Path) -> None:
    """Move a file."""
    file.rename(place)


def unplug(folder: Path, *, leaves_empty: bool = False) -> None:
    """Take the folder away; `leaves_empty`: what it was mounted on is there."""
    folder.rename(folder.with_name("unplugged"))
    if leaves_empty:
        folder.mkdir()


def empty(folder: Path) -> None:
    """Remove all that is in the folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def plug(folder: Path) -> None:
    """Put it back."""
    if folder.exists():
        folder.rmdir()
    folder.with_name("unplugged").rename(folder)


def reasons(host: Host) -> PendingReasons:
    """What `status` and `flush` say of what is not in the store."""
    parts = host.parts
    return PendingReasons(
        parts.store, parts.intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared
    )  # fmt: skip


async def shared(host: Host) -> None:
    """All that went up is in the store."""
    await host.until(lambda: not host.parts.store.shares.waiting_count())


@pytest.mark.parametrize("data", [b"x", b"some text", _LARGE], ids=["a byte", "small", "large"])
async def test_another_machine_reads_what_one_wrote(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, data: bytes
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", data)
    async with machine(tmp_path, server, folder, "two") as two:
        assert (await two.read("a"), two.xattr("a", "readable")) == (data, "yes")
        assert server.script.count("content") == 0


async def test_close_returns_once_the_object_is_there(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        for number in range(5):
            await one.write(f"file {number}", b"bytes")
            assert len(objects(folder)) == number + 1


async def test_without_a_store_nothing_is_noted(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as one:
        await one.write("a", b"bytes")
        assert one.parts.store.shares.waiting(10) == []
        async with running(tmp_path, server, state="two") as two:
            await two.walk()
            with pytest.raises(NotReadable, match="not here"):
                await two.read("a")


async def test_a_part_of_a_large_file_is_read_and_checked(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", _LARGE)
    async with machine(tmp_path, server, folder, "two") as two:
        handle = await two.open("a")
        assert await two.fs.files.read(handle.fh, 2_000_001, 5000) == _LARGE[2_000_001:2_005_001]
        assert await two.fs.files.read(handle.fh, 2_999_990, 5000) == _LARGE[-10:]
        assert await two.fs.files.read(handle.fh, 0, 10) == _LARGE[:10]
        await two.close(handle)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 3)


def _flip_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)


def _other(path: Path) -> None:
    path.write_bytes(b"quite another object")


@pytest.mark.parametrize("damage", [_flip, _cut, _flip_header, _other])
async def test_a_damaged_object_is_never_shown(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, damage: Callable[[Path], None]
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", _LARGE)
        damage(objects(folder)[0])
        async with machine(tmp_path, server, folder, "two") as two:
            with pytest.raises((CorruptionError, TransportError, NotReadable)):
                await two.read("a")
        assert await one.read("a") == _LARGE


@pytest.mark.parametrize("damage", [_flip, _cut, Path.unlink])
async def test_damage_on_this_disk_is_mended_from_the_store(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, damage: Callable[[Path], None]
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", _LARGE)
        await one.settled()
        await shared(one)
        file_id = one.id("a")
        place = one.parts.content.where(file_id)
    damage(place)
    async with machine(tmp_path, server, folder, "one") as one:
        assert await one.read("a") == _LARGE
        assert one.parts.content.is_pinned(file_id)
        assert await check_state(one.parts) == []
        # Without its object a damaged file stays what it is.
        objects(folder)[0].unlink()
        _flip(place)
        with pytest.raises(CorruptionError):
            await one.read("a")
        assert place.stat().st_size == len(_LARGE)


async def test_a_file_whose_bytes_nobody_put_is_waited_for_and_then_refused(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with running(tmp_path, server, state="one") as one:
        await one.write("a", b"bytes")
    async with machine(tmp_path, server, folder, "two") as two:
        began = trio.current_time()
        with pytest.raises(NotReadable, match="nor in the shared store"):
            await two.read("a")
        assert 2.0 <= trio.current_time() - began < 10.0
        began = trio.current_time()
        with pytest.raises(NotReadable):
            await two.read("a")
        assert trio.current_time() - began < 1.0
        assert two.xattr("a", "readable").startswith("no")


@pytest.mark.long
async def test_a_file_that_is_put_later_can_be_read_then(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await one.write("a", b"bytes")
        object_file = objects(folder)[0]
        put_aside(object_file, folder / "aside")
        await two.walk()
        with pytest.raises(NotReadable):
            await two.read("a")
        put_aside(folder / "aside", object_file)
        await trio.sleep(400.0)
        assert await two.read("a") == b"bytes"


# -- a store that is not there


async def test_writes_go_on_without_the_store_and_arrive_later(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one", close_wait_s=FOR_EVER_S) as one:
        await one.write("before", b"before")
        unplug(folder)
        await one.write("during", b"during")
        assert (await one.read("during"), one.remote_names()) == (b"during", ["before", "during"])
        assert one.parts.shared.connection is not None
        await one.until(lambda: not one.parts.shared.is_up)
        assert [left.path for left in reasons(one).unshared(10)] == ["during"]
        plug(folder)
        await shared(one)
        assert len(objects(folder)) == 2
        assert reasons(one).unshared(10) == []


async def test_an_empty_place_where_the_store_was_is_not_taken_for_it(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """As an NFS folder that is not mounted, or another bucket: nothing is concluded, and nothing put there (X5)."""
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
    unplug(folder, leaves_empty=True)
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("b", b"more")
        await trio.sleep(100.0)
        connection = one.parts.shared.connection
        assert connection is not None
        assert connection.trouble is not None
        assert "does not show its marker" in connection.trouble
        assert (names_in(folder), one.parts.store.shares.waiting_count()) == ([], 1)
        plug(folder)
        await shared(one)


@pytest.mark.long
async def test_a_store_that_is_emptied_under_a_mount_gets_nothing(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        await trio.sleep(30.0)
        marker = (folder / "store.json").read_bytes()
        empty(folder)
        await one.write("b", b"more")
        await one.until(lambda: not one.parts.shared.is_up)
        assert (names_in(folder), one.parts.store.shares.waiting_count()) == ([], 1)
        (folder / "store.json").write_bytes(marker)
        await shared(one)


@pytest.mark.long
async def test_a_reader_learns_nothing_from_an_empty_place(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await one.write("a", b"bytes")
        await two.walk()
        assert await two.read("a") == b"bytes"
        await one.write("b", b"more")
        await two.walk()
        await trio.sleep(100.0)
        unplug(folder, leaves_empty=True)
        with pytest.raises(ObjectStoreUnusable):
            await two.read("b")
        assert two.xattr("b", "readable") == "yes"
        plug(folder)
        await two.until(lambda: two.parts.shared.is_up)
        assert await two.read("b") == b"more"


async def test_reading_from_the_store_needs_no_service(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
    async with machine(tmp_path, server, folder, "two") as two:
        server.script.add(Reply(503), times=None)
        assert await two.read("a") == b"bytes"


@pytest.mark.parametrize("data", [b"some text", _LARGE], ids=["small", "large"])
async def test_a_first_read_is_one_request_to_the_store(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, data: bytes
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", data)
    async with machine(tmp_path, server, folder, "two") as two:
        handle = await two.open("a")
        # What found out that the object is there has brought its beginning as well.
        assert two.parts.downloader.statistics().bytes_received > 0
        assert await two.fs.files.read(handle.fh, 0, len(data)) == data
        await two.close(handle)
        assert await two.read("a") == data
        assert two.parts.downloader.statistics().requests == 1


async def test_reads_from_the_store_take_nothing_of_the_services_requests(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    names = [f"file {number:02}" for number in range(30)]
    async with machine(tmp_path, server, folder, "one") as one:
        for name in names:
            await one.write(name, b"bytes")
    async with machine(tmp_path, server, folder, "two", requests_per_minute=1) as two:
        began = trio.current_time()
        for name in names[:5]:
            assert await two.read(name) == b"bytes"
        # As many are on their way for a reader of the folder as where no request is counted.
        await two.until(lambda: two.parts.downloader.statistics().requests >= 5 + 16)
        assert trio.current_time() - began < 10.0
        assert server.script.count("content") == 0


# -- versions and crashes


async def test_the_newest_version_is_the_one_that_others_read(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        for number in range(4):
            await one.write("a", b"version %d" % number)
        await one.settled()
        await shared(one)
        async with machine(tmp_path, server, folder, "two") as two:
            assert await two.read("a") == b"version 3"


async def test_an_upload_that_was_bound_before_a_kill_is_put_by_the_next_mount(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one", working=False, durability="local") as one:
        await one.write("a", b"bytes")
        await one.confirm("a", "file_a")
        one.kill_copy("after")
    async with machine(tmp_path, server, folder, "after") as after:
        await shared(after)
        assert [path.name for path in objects(folder)] == ["file_a"]


async def test_a_file_that_is_removed_before_it_is_put_is_not(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        unplug(folder)
        await one.write("a", b"bytes")
        await one.settled()
        one.unlink("a")
        await one.settled()
        plug(folder)
        await shared(one)
        assert objects(folder) == []


@pytest.mark.long
async def test_strict_close_says_that_the_store_has_it_not(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one", durability="strict", close_wait_s=30.0) as one:
        await one.write("before", b"before")
        unplug(folder)
        with pytest.raises(RemotefsError, match="not in the shared store yet"):
            await one.write("a", b"bytes")
        plug(folder)
        await shared(one)
