"""Uploads that the shared store has may go when the disk is short, and only those (X2)."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import trio

from remotefs import crashpoints
from remotefs.config import Config, SharedConfig
from remotefs.data.share import releaser
from remotefs.errors import NotReadable, OutOfSpace
from remotefs.mount.check.inspection import check_state
from tests.data.share.test_attributes import chattr
from tests.data.share.test_uploads import machine, objects, plug, shared, unplug
from tests.faults import FaultyServer
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock
_SIZE = 2 << 20
_DISK = 13 << 20


def shrink_disk(host: Host, size: int = _DISK) -> None:
    """Let the disk of a machine have `size` bytes, of which its content and its staged files take their part."""

    def statvfs(folder: Path) -> SimpleNamespace:
        places = [folder / "content", folder / "staging"]
        used = sum(file.stat().st_blocks * 512 for place in places for file in place.rglob("*") if file.is_file())
        return SimpleNamespace(f_frsize=1, f_blocks=size, f_bavail=size - used)

    host.parts.disk._statvfs = statvfs


async def uploaded(host: Host, *names: str, size: int = _SIZE) -> dict[str, bytes]:
    """Write files; they are at the service, in the store, and content."""
    written = {name: os.urandom(size) for name in names}
    for name, data in written.items():
        await host.write(name, data)
        await trio.sleep(1.0)
    await host.settled()
    await shared(host)
    await published(host)
    return written


async def published(host: Host) -> None:
    await host.until(lambda: not host.parts.store.shared_log.is_any_dirty())


def here(host: Host) -> list[str]:
    """The files whose bytes are on this disk."""
    return [name for name in host.ls() if host.parts.locator.is_here(host.stat(name))]


async def fill(host: Host, *, files: int = 6) -> None:
    """Write more than the disk has room for; where uploads go meanwhile it may all find its place."""
    with suppress(OutOfSpace):
        for number in range(files):
            await host.write(f"new {number}", os.urandom(_SIZE))


async def looked(host: Host) -> None:
    """The machine has had time to look at the store."""
    await trio.sleep(30.0)


async def test_uploads_go_when_a_write_needs_room_and_are_read_from_the_store(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        written = await uploaded(one, "a", "b", "c", "d")
        shrink_disk(one)
        await looked(one)
        assert here(one) == ["a", "b", "c", "d"]
        assert (await one.read("a")) == written["a"]
        written |= await uploaded(one, "e", "f", "g")
        # Those that were used longest ago went.
        assert "b" not in here(one)
        assert {"e", "f", "g"} <= set(here(one))
        for name, data in written.items():
            assert await one.read(name) == data
        assert await check_state(one.parts) == []
    async with machine(tmp_path, server, folder, "one") as one:
        for name, data in written.items():
            assert await one.read(name) == data


async def stays(host: Host, name: str) -> None:
    """A file is on this disk still, after writes found no room."""
    shrink_disk(host)
    await looked(host)
    await fill(host)
    host.parts.releaser.reclaim(10 * _SIZE)
    assert name in here(host)


@pytest.mark.long
async def test_a_file_whose_object_is_not_in_the_store_stays(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("before", b"before")
        unplug(folder)
        data = os.urandom(_SIZE)
        await one.write("a", data)
        await one.settled()
        await stays(one, "a")
        assert await one.read("a") == data


async def test_while_the_store_is_out_of_reach_all_stays(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await uploaded(one, "a", "b", "c")
        shrink_disk(one)
        await looked(one)
        unplug(folder, leaves_empty=True)
        await one.until(lambda: not one.parts.shared.is_up)
        await fill(one)
        one.parts.releaser.reclaim(10 * _SIZE)
        assert {"a", "b", "c"} <= set(here(one))
        plug(folder)


async def test_an_object_that_somebody_removed_costs_nothing_and_is_put_again(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        written = await uploaded(one, "a", "b", "c")
        objects(folder)[0].unlink()
        os.truncate(objects(folder)[0], 1000)
        shrink_disk(one)
        await looked(one)
        await shared(one)
        assert len(objects(folder)) == 3
        await uploaded(one, "e", "f", "g")
        for name, data in written.items():
            assert await one.read(name) == data


async def test_what_the_user_pinned_is_never_evicted(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await uploaded(one, "a", "b")
        one.parts.releaser.keep(one.stat("a").ino, kept=True)
        # It holds for what is written to the file later.
        await uploaded(one, "a")
        assert (await one.parts.releaser.measure()).files == 1
        await stays(one, "a")
        assert "b" not in here(one)
        one.parts.releaser.keep(one.stat("a").ino, kept=False)
        await published(one)
        await looked(one)
        await one.write("more", os.urandom(_SIZE))
        assert "a" not in here(one)


async def test_a_file_with_unpublished_attributes_or_an_open_one_stays(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await uploaded(one, "a", "b", "c")
        handle = await one.open("b")
        shrink_disk(one)
        await looked(one)
        await chattr(one, "a", mode=0o600)
        one.parts.releaser.reclaim(10 * _SIZE)
        assert here(one) == ["a", "b"]
        await one.close(handle)
        await published(one)
        await looked(one)
        one.parts.releaser.reclaim(10 * _SIZE)
        assert here(one) == []


@pytest.mark.long
async def test_a_look_at_the_store_holds_for_a_day(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A day in which the machine polls takes too long.
    monkeypatch.setattr(releaser, "_VALID_S", 86.4)
    async with machine(tmp_path, server, folder, "one") as one:
        await uploaded(one, "a")
        shrink_disk(one)
        await looked(one)
        for path in objects(folder):
            path.unlink()
        shrink_disk(one, 8 << 30)
        await trio.sleep(90.0)
        one.parts.releaser.reclaim(_SIZE)
        assert here(one) == ["a"]


@pytest.mark.long
async def test_with_the_setting_off_all_stays(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    def change(config: Config) -> Config:
        return msgspec.structs.replace(config, shared=SharedConfig(store=f"file://{folder}", evict=False))

    async with running(tmp_path, server, change=change) as one:
        await uploaded(one, "a", "b", "c")
        assert (await one.parts.releaser.measure()).files == 0
        await stays(one, "a")


async def test_without_the_setting_of_the_store_an_evicted_file_cannot_be_read_here(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        written = await uploaded(one, "a", "b")
        assert (await one.parts.releaser.free(1)).files == 1
        assert here(one) == ["b"]
    async with running(tmp_path, server, state="one") as one:
        with pytest.raises(NotReadable):
            await one.read("a")
        assert await one.read("b") == written["b"]
    async with machine(tmp_path, server, folder, "one") as one:
        assert await one.read("a") == written["a"]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param("content may be evicted", marks=pytest.mark.long),
        "content has lost its bytes",
        pytest.param("content is removed", marks=pytest.mark.long),
    ],
)
async def test_a_crash_in_the_middle_loses_nothing(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        written = await uploaded(one, "a")
        await killed_at(one, step, monkeypatch)
    async with machine(tmp_path, server, folder, "after") as after:
        assert await check_state(after.parts) == []
        assert await after.read("a") == written["a"]


async def killed_at(host: Host, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the upload go, and copy the state folder at a step."""
    reached: Callable[..., None] = crashpoints.reached

    def copying(name: str, *rest: object) -> None:
        if name == step:
            host.kill_copy("after")
        reached(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(crashpoints, "reached", copying)
        await host.parts.releaser.free(1)
