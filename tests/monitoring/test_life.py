"""The log of a working mount: not empty after an hour, and not full."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import trio

from remotefs.mount.life_log import LifeLog
from tests.faults import FaultyServer
from tests.parts import clock, running, server, settings

__all__ = ["clock", "server"]


async def test_an_hour_of_work_is_a_few_lines_and_not_none(
    tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        async with running(tmp_path, server) as host, trio.open_nursery() as nursery:
            nursery.start_soon(LifeLog(settings(host.state_dir, server.url), host.parts).run)
            for number in range(20):
                await host.write(f"f{number}", b"bytes")
                await trio.sleep(180.0)
            await host.settled()
            nursery.cancel_scope.cancel()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("remotefs")]
    events = [getattr(record, "event", None) for record in caplog.records]
    assert events.count("summary") == 1
    assert any("20 files" in line for line in lines if line.startswith("so far: "))
    assert len(lines) <= 8, lines
