"""What the commands `put` and `get` do, called as they call it, on a clock that is driven."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
import trio.testing

from remotefs.control.messages.base import Progress, Report
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.get import GetRequest
from remotefs.mount.transfers.placing import tree_path
from remotefs.mount.transfers.put import PutRequest
from remotefs.mount.transfers.records import Transferred
from remotefs.mount.transfers.without_mount import get_from_folder, put_into_folder
from tests.faults import FaultyServer
from tests.parts import FOR_EVER_S, _jump_when_calm, settings

# A busy machine takes its time, while the clock jumps on.
STALL_S = 600.0


def quietly(_: Progress) -> None:
    """A report that nobody reads."""


@contextmanager
def no_display(_: str) -> Iterator[Report]:
    """A stage that nobody sees."""
    yield quietly


@asynccontextmanager
async def passing_time(server: FaultyServer) -> AsyncIterator[None]:
    """Time passes while nothing happens here and at the server."""
    clock = trio.lowlevel.current_clock()
    async with trio.open_nursery() as nursery:
        assert isinstance(clock, trio.testing.MockClock)
        nursery.start_soon(_jump_when_calm, clock, server)
        yield
        nursery.cancel_scope.cancel()


def request(*sources: Path, to: str = "", stall_s: float = STALL_S, **attributes: str) -> PutRequest:
    """`remotefs put SOURCES TO`."""
    named = {f"user.remotefs.{name}".encode(): value.encode() for name, value in attributes.items()}
    return PutRequest(tuple(sources), tree_path(to), named, stall_s)


async def put(
    folder: Path, server: FaultyServer, wanted: PutRequest, *, state: str = "state"
) -> dict[str, Transferred]:
    """Run it without a mount, on `folder/state`; what became of each path."""
    chosen = state_settings(folder, server, state)
    async with passing_time(server):
        done = await put_into_folder(wanted, chosen, quietly, no_display)
    return {file.path: file for file in done}


def state_settings(folder: Path, server: FaultyServer, state: str = "state") -> MountSettings:
    """The settings of a state folder, which is made."""
    (folder / state).mkdir(mode=0o700, exist_ok=True)
    chosen = settings(folder / state, server.url)
    # No jump of the clock reaches the end of the first listing.
    refresh = msgspec.structs.replace(chosen.config.refresh, first_listing_wait_s=FOR_EVER_S)
    config = msgspec.structs.replace(chosen.config, refresh=refresh)
    return MountSettings(chosen.mountpoint, chosen.state_dir, config, chosen.options)


def write(path: Path, data: bytes, *, mode: int = 0o644, mtime_ns: int = 1_600_000_000_123_456_789) -> Path:
    """A file on this machine, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def get_request(*names: str, into: Path, **options: Any) -> GetRequest:
    """`remotefs get NAMES INTO`."""
    return GetRequest(names, into, **options)


async def get(
    folder: Path, server: FaultyServer, wanted: GetRequest, *, state: str = "state"
) -> dict[str, tuple[str, str | None]]:
    """Run it without a mount, on `folder/state`; the outcome of each path, with its reason."""
    chosen = state_settings(folder, server, state)
    async with passing_time(server):
        done = await get_from_folder(wanted, chosen, quietly, no_display)
    return {file.path: (file.outcome.value, file.reason) for file in done}
