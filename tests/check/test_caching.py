"""`warm`, `pin`, `unpin`, `cache`: what comes to this disk, what stays there, and what is said before it goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.base import Nothing, Progress, Warming
from remotefs.control.messages.cache import ClearParams, TrimParams, UnpinParams, WarmParams
from remotefs.errors import NotReadable
from remotefs.mount.check.inspection import check_state
from tests.commands import commands, quietly
from tests.faults import FaultyServer
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock
MADE = b"generated" * 100


async def populate(host: Host) -> None:
    """An upload of ours, two generated files, and an upload of somebody else."""
    host.mkdir("d")
    await host.write("d/ours", b"only copy")
    await host.settled()
    for name in ("d／made", "made2"):
        host.server.store.add(name, MADE, downloadable=True)
    host.server.store.add("theirs", b"secret", downloadable=False)
    await host.walk()


async def test_warm_fetches_once_and_names_what_cannot_be_read(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        seen: list[Progress] = []
        result = await commands(host).pin.warm(WarmParams(""), seen.append)
        assert (result.files, result.bytes) == (3, 2 * len(MADE) + len(b"only copy"))
        assert [left.path for left in result.failed] == ["theirs"]
        assert "does not give back" in result.failed[0].reason
        assert isinstance(seen[-1], Warming)
        assert seen[-1].bytes_done == seen[-1].bytes == result.bytes + len(b"secret")
        before = server.script.count("content")
        assert (await commands(host).pin.warm(WarmParams("d"), quietly)).files == 2
        assert await host.read("d/made") == MADE
        assert server.script.count("content") == before


async def test_what_is_pinned_stays_and_unpinned_it_may_go(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        groups = commands(host)
        await groups.pin.warm(WarmParams("d", pin=True), quietly)
        await groups.pin.warm(WarmParams("made2"), quietly)
        freed = await groups.cache.trim(TrimParams(0), quietly)
        assert (freed.files, freed.bytes) == (1, len(MADE))
        assert host.parts.locator.is_here(host.stat("d/made"))
        # An own upload is left alone unless that is said.
        result = await groups.pin.unpin(UnpinParams(path="d"), quietly)
        assert (result.files, result.sole.files, result.sole.paths) == (1, 1, ("d/ours",))
        await groups.cache.trim(TrimParams(0), quietly)
        assert not host.parts.locator.is_here(host.stat("d/made"))
        assert await host.read("d/ours") == b"only copy"
        assert (await groups.pin.unpin(UnpinParams(path="d", sole_too=True), quietly)).files == 1
        assert [finding.kind for finding in await check_state(host.parts)] == ["only copy not pinned"]


async def test_the_cache_is_trimmed_to_what_was_said(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        groups = commands(host)
        await groups.pin.warm(WarmParams(""), quietly)
        before = await groups.cache.info(Nothing(), quietly)
        assert (before.evictable_files, before.pinned_files, before.sole.files) == (2, 1, 1)
        await groups.cache.trim(TrimParams(before.evictable_bytes - 1), quietly)
        after = await groups.cache.info(Nothing(), quietly)
        assert after.evictable_files == 1
        assert after.pinned_bytes == before.pinned_bytes


async def test_what_was_cleared_by_force_is_said_first_and_then_unreadable(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        await populate(host)
        groups = commands(host)
        await groups.pin.warm(WarmParams(""), quietly)
        said = (await groups.cache.info(Nothing(), quietly)).sole
        assert (said.files, said.bytes, said.paths) == (1, len(b"only copy"), ("d/ours",))
        # What is open stays, and so does what is only here while nobody forces it.
        handle = await host.open("d/ours", os.O_RDONLY)
        await groups.cache.clear(ClearParams(pinned_too=True), quietly)
        assert await host.fs.files.read(handle.fh, 0, 9) == b"only copy"
        await host.close(handle)
        await groups.cache.clear(ClearParams(), quietly)
        assert await host.read("d/ours") == b"only copy"
        assert (await groups.cache.clear(ClearParams(pinned_too=True), quietly)).files == 1
        with pytest.raises(NotReadable):
            await host.read("d/ours")
        assert ("bytes are missing", "d/ours") in [(f.kind, f.path) for f in await check_state(host.parts)]
        assert await host.read("d/made") == MADE
