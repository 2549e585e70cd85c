"""`remotefs retype`: what was uploaded under other types gets those of now (M1)."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio

from remotefs.config import Config, UploadConfig
from remotefs.control.messages.retype import RetypeParams, RetypeResult
from remotefs.errors import NotFound
from tests.commands import commands, quietly
from tests.faults import FaultyServer
from tests.parts import Host
from tests.upkeep.support import add, machine

Server, Clock = FaultyServer, trio.abc.Clock


def _as_before(config: Config) -> Config:
    """Types by names alone, as earlier versions sent them."""
    return msgspec.structs.replace(config, upload=UploadConfig(text_type="exact"))


async def _retype(host: Host, path: str = "", *, dry_run: bool = False) -> RetypeResult:
    return await commands(host).retype.retype(RetypeParams(path, dry_run=dry_run), quietly)


async def test_m1_retype_says_its_cost_and_uploads_again_what_has_another_type(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "theirs.csv")
    async with machine(tmp_path, server, change=_as_before) as host:
        host.mkdir("d")
        for name, data in {"a.md": b"# a", "d/b.csv": b"a,b", "c.bin": b"\0", "d/e.pdf": b"%PDF"}.items():
            await host.write(name, data)
        await host.settled()
        await host.walk()
    async with machine(tmp_path, server) as host:
        before = {name: host.id(name) for name in ("a.md", "d/b.csv", "c.bin", "d/e.pdf", "theirs.csv")}
        server.script.forget_requests()
        cost = await _retype(host, dry_run=True)
        assert cost == RetypeResult(files=2, bytes=6, requests=4, of_others=1)
        assert (host.pending(), server.script.count()) == ([], 0)

        assert (await _retype(host, "d")).files == 1
        assert host.xattr("d/b.csv", "state") == "pending"
        assert (await _retype(host, "d")).files == 0
        await host.settled()
        assert (await _retype(host, "a.md")).files == 1
        await host.settled()
        assert {record.filename: record.mime_type for record in host.stored()} == {
            "a.md": "text/plain", "d\uff0fb.csv": "text/plain", "c.bin": "application/octet-stream",
            "d\uff0fe.pdf": "application/pdf", "theirs.csv": "text/csv",
        }  # fmt: skip
        changed = {name for name, file_id in before.items() if host.id(name) != file_id}
        assert changed == {"a.md", "d/b.csv"}
        assert (server.script.count("upload"), server.script.count("delete")) == (2, 2)
        assert await _retype(host) == RetypeResult(files=0, bytes=0, requests=0, of_others=1)


async def test_m1_a_file_without_its_bytes_here_keeps_its_type(tmp_path: Path, clock: Clock, server: Server) -> None:
    async with machine(tmp_path, server, change=_as_before) as host:
        await host.write("a.md", b"# a")
        await host.settled()
        host.parts.content.remove(host.id("a.md"))
        assert await _retype(host) == RetypeResult(files=0, bytes=0, requests=0, not_here=1)


async def test_a_path_that_is_not_there(tmp_path: Path, server: Server, clock: Clock) -> None:
    async with machine(tmp_path, server) as host:
        with pytest.raises(NotFound):
            await _retype(host, "nothing")
