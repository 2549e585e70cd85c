"""What a user does changes the right counter by the right amount, and gives the right line of the access log."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pyfuse3
import pytest
import trio

from remotefs.control.messages.status import Counters
from remotefs.fuse.operations import Operations
from remotefs.fuse.requests import RequestRecord
from remotefs.mount.access_log import as_json, plain
from remotefs.mount.counting import counters_of
from tests.faults import FaultyServer, Reply
from tests.parts import Host, clock, running, server

__all__ = ["clock", "server"]

TEXT = b"forty-two bytes of text, or something like"


def operations(host: Host) -> Operations:
    return Operations(host.fs, timeout_s=1.0, note_use=lambda: None, requests=host.parts.requests)


def counts(counters: Counters) -> dict[tuple[str, int], int]:
    return {(one.kind, one.status): one.count for one in counters.requests}


async def test_an_upload_a_refusal_and_a_cold_read_are_counted(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        assert counters_of(host.parts).uploaded_bytes == 0
        server.script.add(Reply(400, b"{}"), op="upload", times=1)
        with pytest.raises(Exception, match="400"):
            await host.write("a.txt", TEXT)
        await host.settled()
        now = counters_of(host.parts)
        assert {key: counts(now)[key] for key in counts(now) if key[0] == "upload"} == {
            ("upload", 400): 1, ("upload", 200): 1,
        }  # fmt: skip
        [uploads] = [one for one in now.request_times if one.name == "upload"]
        assert (uploads.count, uploads.errors) == (2, 1)
        assert sum(now.errors.values()) == 1
        # Both tries sent the bytes.
        assert now.uploaded_bytes == 2 * len(TEXT)
        assert now.downloaded_bytes == 0


async def test_cold_and_warm_reads_are_counted_apart(tmp_path: Path, clock: trio.abc.Clock) -> None:
    from tests.faults import faulty_server  # noqa: PLC0415 - another one than the fixture's

    with faulty_server(tmp_path / "server", uploads_downloadable=True) as other:
        async with running(tmp_path, other, state="first") as host:
            await host.write("a.txt", TEXT)
            await host.settled()
        async with running(tmp_path, other, state="second") as host:
            await host.walk()
            assert await host.read("a.txt") == TEXT
            assert await host.read("a.txt") == TEXT
            now = counters_of(host.parts)
    assert (now.cache_misses, now.cache_missed_bytes) == (1, len(TEXT))
    assert (now.cache_hits, now.cache_hit_bytes) == (1, len(TEXT))
    assert now.downloaded_bytes == len(TEXT)
    assert counts(now)["download", 200] == 1


async def test_each_operation_is_counted_with_its_errors(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server) as host:
        handlers = operations(host)
        context: Any = host.user
        await handlers.mkdir(1, b"d", 0o755, context)
        with pytest.raises(pyfuse3.FUSEError):
            await handlers.rmdir(1, b"none", context)
        await handlers.lookup(1, b"none", context)
        timings = {one.name: one for one in counters_of(host.parts).operations}
    assert {name: (one.count, one.errors) for name, one in timings.items()} == {
        "mkdir": (1, 0), "rmdir": (1, 1), "lookup": (1, 0),
    }  # fmt: skip
    assert timings["mkdir"].within[-1] == 1


async def _logged(host: Host, act: Callable[[Operations], Awaitable[object]]) -> list[dict[str, Any]]:
    """The lines of the access log that an act gives."""
    log = host.parts.access_log
    log.use_format("json")
    log.turn_on()
    await act(operations(host))
    await trio.to_thread.run_sync(log.finish)
    return [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]


async def test_the_access_log_has_a_line_for_each_request_with_its_path(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    odd = "new\nline [31m\u2028"
    async with running(tmp_path, server) as host:
        host.mkdir("d")
        context: Any = host.user

        async def act(handlers: Operations) -> None:
            folder = host.stat("d").ino
            info, _ = await handlers.create(folder, odd.encode(), 0o100644, os.O_WRONLY, context)
            await handlers.write(info.fh, 7, TEXT)
            await handlers.flush(info.fh)
            await handlers.release(info.fh)
            await handlers.lookup(folder, b"none", context)
            await handlers.rename(folder, odd.encode(), 1, b"b", 0, context)
            with pytest.raises(pyfuse3.FUSEError):
                await handlers.unlink(folder, b"none", context)
            await handlers.statfs(context)

        lines = await _logged(host, act)
        path = host.parts.access_log.path
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert not host.parts.access_log.is_on
    shown = [(line["operation"], line["path"], line.get("error")) for line in lines]
    assert shown == [
        ("create", f"/d/{odd}", None), ("write", f"/d/{odd}", None), ("flush", f"/d/{odd}", None),
        ("release", f"/d/{odd}", None), ("lookup", "/d/none", "ENOENT"), ("rename", f"/d/{odd}", None),
        ("unlink", "/d/none", "ENOENT"), ("statfs", "/", None),
    ]  # fmt: skip
    assert (lines[1]["offset"], lines[1]["bytes"]) == (7, len(TEXT))
    assert lines[5]["to"] == "/b"
    # A close waits for the service; a write waits for nothing.
    assert set(lines[2]["waited_ms"]) >= {"service"}
    assert "waited_ms" not in lines[1]
    assert not any(TEXT.decode() in json.dumps(line) for line in lines)


def _record(path: str, **fields: Any) -> RequestRecord:
    known: dict[str, Any] = {
        "at": 1,
        "operation": "read",
        "target": None,
        "offset": None,
        "size": None,
        "seconds": 0.0005,
    }
    return RequestRecord(path=path, **(known | {"error": None, "waited": {}} | fields))


@pytest.mark.parametrize("path", ["/a b", '/q"q', "/n\nl", "/e\x1b[0m", "/u\u2028u", "/r\u202er", "/ü"])
def test_a_line_is_one_line_whatever_the_name(path: str) -> None:
    assert plain(_record(path)).isprintable()
    assert as_json(_record(path)).isprintable()
    assert json.loads(as_json(_record(path)))["path"] == path
    assert json.loads(plain(_record(path)).split(" ", 2)[2].rpartition(" ms=")[0]) == path


async def test_a_disk_that_is_too_slow_costs_lines_and_no_request(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotefs.mount.access_log._MOST_WAITING", 0)
    async with running(tmp_path, server) as host:
        context: Any = host.user
        lines = await _logged(host, lambda handlers: handlers.statfs(context))
        assert lines == []
        assert counters_of(host.parts).unlogged == 1


async def test_bytes_to_upload_are_added_up_and_of_very_many_files_estimated(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock
) -> None:
    async with running(tmp_path, server, working=False, durability="local") as host:
        assert host.parts.journal.upload_bytes(100, 0) == 0
        for number in range(8):
            await host.write(f"f{number}", TEXT)
        assert host.parts.journal.upload_bytes(100, 8) == 8 * len(TEXT)
        assert host.parts.journal.upload_bytes(5, 8) == 8 * len(TEXT)
