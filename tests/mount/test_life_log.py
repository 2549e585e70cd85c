"""The log tells a life, in few lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

from remotefs.errors import Unreachable
from remotefs.mount.life_log import LifeLog
from tests.faults import FaultyServer
from tests.parts import running, server, settings

__all__ = ["server"]


async def test_the_log_tells_of_the_start_the_connection_and_the_end(
    tmp_path: Path, server: FaultyServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "remotefs.mount.life_log"):
        async with running(tmp_path, server) as host, trio.open_nursery() as nursery:
            link = host.parts.connectivity
            nursery.start_soon(LifeLog(settings(host.state_dir, server.url), host.parts).run)
            await trio.testing.wait_all_tasks_blocked()
            link.up()
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(5):
                link.down(Unreachable("no route to host"))
                await trio.testing.wait_all_tasks_blocked()
            link.up()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    lines = [record.getMessage() for record in caplog.records if record.name == "remotefs.mount.life_log"]
    text = "\n".join(lines)
    assert server.url in lines[0]
    assert "durability=" in lines[0]
    assert lines[1].startswith("started: ")
    assert text.count("offline: no route to host") == 1
    assert lines[-1].startswith("ended: online; 0 files, 0 changes pending")
    assert len(lines) <= 7
