"""`remotefs umount` ends a mount only while nothing is open, and drains what was written until then (A3)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.base import DrainResult, Nothing, Notice, Progress
from remotefs.control.messages.mount import UmountParams
from remotefs.errors import LocalError
from tests.between import Between
from tests.commands import commands
from tests.faults import FaultyServer, HoldReply
from tests.parts import Host, running

Server, Clock = FaultyServer, trio.abc.Clock


class Ending:
    """A mount's commands, and what was open when it was told to end (None: it was not)."""

    def __init__(self, host: Host) -> None:
        self.open_at_end: int | None = None
        self.notices: list[str] = []
        self.host = host
        self.commands = commands(host, self._stop)

    async def umount(self, timeout_s: float = 60.0) -> DrainResult:
        return await self.commands.mount.umount(UmountParams(timeout_s=timeout_s), self._note)

    def _stop(self) -> None:
        self.open_at_end = self.host.fs.handles.statistics().files

    def _note(self, progress: Progress) -> None:
        if isinstance(progress, Notice):
            self.notices.append(progress.text)


@asynccontextmanager
async def draining(folder: Path, server: Server) -> AsyncIterator[tuple[Host, Ending]]:
    async with running(folder, server, durability="local") as host:
        yield host, Ending(host)


async def test_a3_what_is_opened_while_it_drains_is_waited_for_and_drained(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with draining(tmp_path, server) as (host, ending):
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ending.umount)
            await held.until_hit()
            handle = await host.open("b", os.O_WRONLY | os.O_CREAT)
            held.release()
            await trio.sleep(5)
            assert ending.open_at_end is None
            await host.fs.files.write(handle.fh, 0, b"second")
            reader = await host.open("a")
            await host.close(handle)
            await host.until(lambda: not host.pending())
            await trio.sleep(5)
            assert ending.open_at_end is None
            await host.close(reader)
        assert ending.open_at_end == 0
        assert host.remote_names() == ["a", "b"]
        assert host.remote_bytes("b") == [b"second"]
        assert any("1 files were opened" in notice for notice in ending.notices)


async def test_a3_what_stays_open_until_the_time_is_up_is_busy(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with draining(tmp_path, server) as (host, ending):
        held = server.script.add(HoldReply(), op="upload")
        await host.write("a", b"first")

        async def open_another() -> None:
            await held.until_hit()
            await host.open("b", os.O_WRONLY | os.O_CREAT)
            held.release()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_another)
            with pytest.raises(LocalError, match="busy: 1 files are open"):
                await ending.umount(30.0)
        assert ending.open_at_end is None
        assert not (await ending.commands.status.status(Nothing(), lambda _: None)).draining


async def test_a3_a_service_that_hangs_does_not_hold_it_up(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with draining(tmp_path, server) as (host, ending):
        server.script.add(HoldReply(), op="upload", times=None)
        await host.write("a", b"first")
        assert (await ending.umount(30.0)).left == 1
        assert ending.open_at_end == 0


async def test_a3_whenever_a_file_is_opened_it_does_not_end_beneath_it(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    nth, steps = 0, 1
    while nth < steps:
        async with running(tmp_path, server, state=f"state{nth}", durability="local") as host:
            ending = Ending(host)
            await host.write("a", b"first")
            opened: list[int] = []

            async def use(host: Host = host, opened: list[int] = opened, ending: Ending = ending) -> None:
                if ending.open_at_end is not None:
                    return
                handle = await host.open("b", os.O_WRONLY | os.O_CREAT)
                opened.append(handle.fh)
                await trio.sleep(3)
                assert ending.open_at_end is None
                await host.fs.files.write(handle.fh, 0, b"second")
                await host.close(handle)

            with Between("Ending.umount", nth, lambda host=host, use=use: host.nursery.start_soon(use)) as between:  # type: ignore[misc]  # mypy cannot infer it
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ending.umount)
            steps = between.seen
            assert ending.open_at_end == 0
            assert host.remote_bytes("b") == [b"second"] * len(opened)
            for record in host.stored():
                server.store.delete(record.id)
        nth += 1
    assert nth > 2
