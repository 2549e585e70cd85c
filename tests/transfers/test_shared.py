"""`put` and `get` without a mount, with a shared store: as a mount with one (X1, X2)."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import SharedConfig
from remotefs.control.messages.base import Notice, Progress
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.without_mount import get_from_folder, put_into_folder
from tests.data.share.test_attributes import exchanged
from tests.data.share.test_uploads import machine, objects, shared, unplug
from tests.faults import FaultyServer
from tests.transfers.support import get_request, no_display, passing_time, request, state_settings, write

Server = FaultyServer
Clock = trio.abc.Clock
_LARGE = os.urandom(2_500_000)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The folder that all machines have mounted."""
    folder = tmp_path / "nas"
    folder.mkdir()
    return folder


def with_store(tmp_path: Path, server: Server, store: Path, state: str) -> MountSettings:
    """The settings of a state folder."""
    chosen = state_settings(tmp_path, server, state)
    config = msgspec.structs.replace(chosen.config, shared=SharedConfig(store=f"file://{store}"))
    return MountSettings(chosen.mountpoint, chosen.state_dir, config, chosen.options)


async def put(tmp_path: Path, server: Server, store: Path, *sources: Path) -> tuple[dict[str, str], list[str]]:
    """`remotefs put SOURCES .` on the state folder `one`; the outcomes by path, and what was told."""
    told: list[Progress] = []
    async with passing_time(server):
        done = await put_into_folder(
            request(*sources), with_store(tmp_path, server, store, "one"), told.append, no_display
        )
    return {file.path: file.outcome.value for file in done}, [item.text for item in told if isinstance(item, Notice)]


async def test_what_put_sends_goes_into_the_store_with_its_looks(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    source = write(tmp_path / "src/a", _LARGE, mode=0o600, mtime_ns=1_500_000_000_123_456_789)
    assert await put(tmp_path, server, store, source.parent) == ({"src/a": "sent"}, [])
    assert len(objects(store)) == 1
    async with machine(tmp_path, server, store, "two") as two:
        await exchanged(two)
        assert await two.read("src/a") == _LARGE
        inode = two.stat("src/a")
        assert (stat.S_IMODE(inode.mode), inode.mtime_ns) == (0o600, 1_500_000_000_123_456_789)
    async with passing_time(server):
        settings = with_store(tmp_path, server, store, "three")
        await get_from_folder(get_request("src", into=tmp_path / "out"), settings, lambda _: None, no_display)
    assert (tmp_path / "out/src/a").read_bytes() == _LARGE
    assert stat.S_IMODE((tmp_path / "out/src/a").stat().st_mode) == 0o600


async def test_a_store_out_of_reach_is_told_and_the_next_mount_goes_on(
    tmp_path: Path, server: Server, store: Path, clock: Clock
) -> None:
    await put(tmp_path, server, store, write(tmp_path / "a", b"a"))
    unplug(store)
    outcome, told = await put(tmp_path, server, store, write(tmp_path / "b", b"b"))
    assert outcome == {"b": "sent"}
    assert "1 files are not in the shared store yet; the next mount goes on with them" in told
    store.with_name("unplugged").rename(store)
    async with machine(tmp_path, server, store, "one") as one:
        await shared(one)
        assert len(objects(store)) == 2
