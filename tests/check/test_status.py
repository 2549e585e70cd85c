"""`status` and `retry`: what is on its way, what failed and why, and what of it is tried again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import FlushParams, PathParams
from remotefs.errors import BadRequest
from remotefs.store.records import ROOT_INO
from tests.between import Between
from tests.commands import commands, quietly
from tests.faults import Action, Call, FaultyServer, Reply
from tests.parts import LARGE, running

Server, Clock = FaultyServer, trio.abc.Clock


class ReadSome(Action):
    """Take a part of the request's body and then no more of it."""

    async def __call__(self, call: Call) -> None:
        await call.read_request(LARGE // 4)
        call.rule.mark_arrived()
        await call.rule.released()
        call.abort()


async def test_an_upload_under_way_is_told_by_its_bytes(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server, durability="local") as host:
        held = server.script.add(ReadSome(), op="upload", times=None)
        await host.write("big", bytes(LARGE))
        await held.until_hit()
        [flight] = host.parts.in_flight.under_way.values()
        await host.until(lambda: flight.sent_bytes >= LARGE // 8)
        [upload] = (await commands(host).status.status(Nothing(), quietly)).uploading
        assert (upload.path, upload.size) == ("big", LARGE)
        assert LARGE // 8 <= upload.sent < LARGE
        server.script.clear()


async def test_what_the_process_holds_is_told_and_let_go(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with running(tmp_path, server) as host:
        before = (await commands(host).status.status(Nothing(), quietly)).in_memory
        handle = await host.open("f", os.O_RDWR | os.O_CREAT)
        folder = host.fs.namespace.opendir(ROOT_INO)
        host.fs.handles.looked_up(handle.ino)
        during = (await commands(host).status.status(Nothing(), quietly)).in_memory
        counts = (during.kernel_inodes, during.open_files, during.open_directories)
        assert counts == (before.kernel_inodes + 1, before.open_files + 1, before.open_directories + 1)
        assert during.tasks > 0
        host.fs.namespace.releasedir(folder)
        await host.close(handle)
        host.fs.namespace.forget(handle.ino, 1)
        after = (await commands(host).status.status(Nothing(), quietly)).in_memory
        assert (after.kernel_inodes, after.open_files, after.open_directories) == (
            before.kernel_inodes, before.open_files, before.open_directories,
        )  # fmt: skip


async def test_what_failed_is_told_with_its_request_and_tried_again_when_asked(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    async with running(tmp_path, server) as host:
        server.script.add(Reply(400), op="upload", times=1)
        with pytest.raises(BadRequest):
            await host.write("f", b"x")
        status = await commands(host).status.status(Nothing(), quietly)
        assert [item.path for item in status.failed] == ["f"]
        assert status.errors[0].request_id == "req_scripted"
        # It would be tried again by itself in a minute of the wall clock, which does not move here.
        assert host.remote_names() == []
        assert (await commands(host).status.retry(PathParams("f"), quietly)).count == 1
        await host.until(lambda: host.remote_names() == ["f"])
        await host.settled()
        assert (await commands(host).status.retry(PathParams(), quietly)).count == 0
        assert (await commands(host).status.flush(FlushParams(timeout_s=1.0), quietly)).left == 0


async def test_a_flush_takes_what_goes_and_what_is_written_meanwhile_as_it_is(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    """It closes what is being written, one file after the other."""
    async with running(tmp_path, server, durability="local") as host:
        handles = {name: await host.open(name, os.O_RDWR | os.O_CREAT) for name in ("a", "b", "c")}
        for name, handle in handles.items():
            await host.fs.files.write(handle.fh, 0, name.encode())
        await host.fs.files.flush(handles["c"].fh)

        def change() -> None:
            host.unlink("b")
            host.nursery.start_soon(host.fs.files.release, handles["b"].fh)
            host.nursery.start_soon(host.fs.files.write, handles["c"].fh, 1, b"!")

        flush = commands(host).status.flush
        with Between("Commands.flush", 1, change):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flush, FlushParams(timeout_s=5.0), quietly)
        assert host.remote_bytes("a") == [b"a"]
        for name in ("a", "c"):
            await host.close(handles[name])
        await host.settled()
        assert host.remote_names() == ["a", "c"]
        assert host.remote_bytes("c") == [b"c!"]
