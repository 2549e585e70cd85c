"""Objects go only for files that are certainly gone (X6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.clocks import STEP_AFTER_NS
from remotefs.data.share.janitor import Janitor
from tests.data.share.test_uploads import machine, objects, shared
from tests.faults import FaultyServer
from tests.parts import Host
from tests.upkeep.support import DAY_S, Time

Server = FaultyServer
Clock = trio.abc.Clock


@asynccontextmanager
async def host_of(
    tmp_path: Path, server: Server, folder: Path, time: Time, name: str = "one", **options: Any
) -> AsyncIterator[Host]:
    """A machine of that name, whose clocks are those of `time`; its files are in the store."""
    async with machine(tmp_path, server, folder, name, machine=time.machine(), **options) as host:
        yield host


def janitor(host: Host) -> Janitor:
    """The janitor of a machine."""
    assert host.parts.janitor is not None
    return host.parts.janitor


async def days(host: Host, time: Time, count: int) -> None:
    """Let days pass: on each the service is listed, and the janitor looks whether it is its time."""
    for _ in range(count):
        time.passed_s += DAY_S
        for _ in range(3):
            await host.walk()
        await janitor(host).look()


def ids(folder: Path) -> set[str]:
    """The ids of the objects."""
    return {path.name for path in objects(folder)}


async def removed(host: Host, *paths: str) -> set[str]:
    """Remove files; the ids that they had."""
    gone = {host.id(path) for path in paths}
    for path in paths:
        host.unlink(path)
    await host.settled()
    return gone


async def written(host: Host, *paths: str) -> None:
    """Files with some bytes, at the service and in the store."""
    for path in paths:
        await host.write(path, f"bytes of {path}".encode())
    await host.settled()
    await shared(host)


async def test_the_object_of_a_removed_file_goes_after_its_days_and_not_before(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    time = Time(server)
    async with host_of(tmp_path, server, folder, time) as one:
        await written(one, "kept", "gone")
        [gone] = await removed(one, "gone")
        await days(one, time, 14)
        assert gone in ids(folder)
        await days(one, time, 5)
        assert ids(folder) == {one.id("kept")}
        assert await one.read("kept") == b"bytes of kept"
