"""Listings with odd entries: the others are shown, and no file is taken for deleted because its entry is odd (S4)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.check.findings import Kind
from remotefs.mount.check.inspection import Scope, check_state
from tests.faults import EditJson, FaultyServer
from tests.upkeep.support import add, machine, view, walks

Server, Clock = FaultyServer, trio.abc.Clock


def odd(name: str, **changes: Any) -> EditJson:
    """Change the entry of that filename in each page."""
    return EditJson(lambda page: page | {"data": [e | changes if e["filename"] == name else e for e in page["data"]]})


@pytest.mark.parametrize(
    "changes",
    [{"mime_type": None}, {"mime_type": "\n"}, {"created_at": "2026-06-30T23:59:60Z"}, {"created_at": "soon"},
     {"expires_at": "never"}, {"expires_at": []}, {"filename": "n" * 600}, {"downloadable": 5}],
)  # fmt: skip
async def test_one_odd_entry_keeps_no_listing_from_being_read(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any]
) -> None:
    add(server, "a", b"1")
    add(server, "odd", b"2")
    server.script.add(odd("odd", **changes), op="list", times=None)
    async with machine(tmp_path, server) as host:
        await walks(host)
        add(server, "b", b"3")
        await walks(host)
        files = await view(host)
        assert files.pop("a") == b"1"
        assert files.pop("b") == b"3"
        assert len(files) == 1
        assert all(len(name.encode()) <= 255 for name in files)


@pytest.mark.parametrize("changes", [{"filename": None}, {"size_bytes": -1}, {"size_bytes": None}])
async def test_s4_a_file_whose_entry_cannot_be_used_is_not_removed(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    file_id = add(server, "kept", b"1")
    gone = add(server, "gone", b"2")
    async with machine(tmp_path, server) as host:
        await walks(host)
        server.store.delete(gone)
        rule = server.script.add(odd("kept", **changes), op="list", times=None)
        with caplog.at_level(logging.WARNING):
            await walks(host, 4)
        assert await view(host) == {"kept": b"1"}, "and what is gone is removed all the same"
        assert sum(file_id in record.message for record in caplog.records) == 1
        server.script.remove(rule)
        await walks(host)
        assert await view(host) == {"kept": b"1"}


async def test_s4_a_listing_with_an_entry_without_an_id_removes_nothing(
    tmp_path: Path, server: Server, clock: Clock
) -> None:
    add(server, "kept", b"1")
    gone = add(server, "gone", b"2")
    async with machine(tmp_path, server) as host:
        await walks(host)
        server.store.delete(gone)
        rule = server.script.add(odd("kept", id="../../kept"), op="list", times=None)
        await walks(host, 4)
        assert set(host.ls()) == {"kept", "gone"}
        server.script.remove(rule)
        await walks(host)
        assert await view(host) == {"kept": b"1"}


@pytest.mark.parametrize("changes", [{"filename": None}, {"size_bytes": None}, {"id": "../../kept"}])
async def test_s4_check_does_not_say_that_a_file_is_missing_because_its_entry_is_odd(
    tmp_path: Path, server: Server, clock: Clock, changes: dict[str, Any]
) -> None:
    add(server, "kept", b"1")
    gone = add(server, "gone", b"2")
    async with machine(tmp_path, server) as host:
        await walks(host)
        # The service made both of them long ago.
        with host.parts.database.transaction():
            host.parts.database.execute("UPDATE remote SET created_ns = 1")
        server.store.delete(gone)
        server.script.add(odd("kept", **changes), op="list", times=None)
        findings = await check_state(host.parts, Scope(service=True))
        missing = [finding.file_id for finding in findings if finding.kind is Kind.MISSING_REMOTE]
        assert missing == ([] if "id" in changes else [gone])
