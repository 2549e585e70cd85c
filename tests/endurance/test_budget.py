"""A reader does not wait behind a large copy, and the service is not asked more than it takes (design: the budget)."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from remotefs.control.address import SOCKET_NAME
from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Draining, Progress
from remotefs.control.messages.status import FLUSH, FlushParams
from tests.mount.support import mounted
from tests.server_process import ServerProcess, running_server

FILES = 1000
# Real seconds between two cold reads.
EVERY_S = 1.5
# What a round trip takes on a busy machine.
ROUND_TRIP_S = 0.25

pytestmark = [pytest.mark.mount, pytest.mark.long]


def add_cold(server: ServerProcess, count: int) -> list[str]:
    """Files of others, to be read one by one; asked for by their service, not by the mount."""
    names = [f"cold-{number:04}.txt" for number in range(count)]
    for name in names:
        part = {"file": (name, name.encode(), "text/plain")}
        while httpx.post(f"{server.url}/v1/files", files=part, headers=server.headers).status_code == 429:
            time.sleep(60 / 500)
    return names


@pytest.mark.parametrize("per_minute", [100, 500])
def test_a_cold_read_waits_for_one_refill_at_most_while_a_thousand_files_go_up(tmp_path: Path, per_minute: int) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(FILES):
        (source / f"{number}.bin").write_bytes(number.to_bytes(4) * 256)
    settings = {
        "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": str(per_minute),
        "REMOTEFS_WRITEBACK_DURABILITY": "local",
        "REMOTEFS_REFRESH_POLL_IN_USE_S": "6",
    }
    with running_server(tmp_path / "server") as plain:
        # The reads take their part of the limit, too.
        cold = add_cold(plain, int(2 * FILES / per_minute * 60 / EVERY_S) + 40)
    # In no order, for the next files of a folder that is read in order would be on their way.
    random.Random(7).shuffle(cold)
    with (
        running_server(tmp_path / "server", "--rpm", str(per_minute), "--log-requests") as server,
        mounted(tmp_path, server.url, server.key, settings=settings) as mount,
    ):
        began = time.monotonic()
        subprocess.run(["cp", "-a", source, mount.path / "copy"], check=True)
        waits = []
        for name in cold:
            asked = time.monotonic()
            assert (mount.path / name).read_bytes() == name.encode()
            waits.append(time.monotonic() - asked)
            if not mount.status().pending:
                break
            time.sleep(EVERY_S)
        took_s = time.monotonic() - began
        assert not mount.status().pending
        answered = server.requests()
    waits.sort()
    print(f"{len(waits)} reads: median {waits[len(waits) // 2]:.3f} s, 99th {waits[len(waits) * 99 // 100]:.3f} s,")
    refused = sum(request["status"] == 429 for request in answered)
    print(f"{refused} of {len(answered)} requests refused, all sent after {took_s:.0f} s")
    assert waits[len(waits) * 99 // 100] <= 60 / per_minute + ROUND_TRIP_S
    assert refused <= len(answered) / 100
    # The pace is used, too.
    assert took_s <= 1.2 * (len(answered) - per_minute / 10) / per_minute * 60


def test_the_eta_is_right_within_a_fifth(tmp_path: Path) -> None:
    settings = {"REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "100", "REMOTEFS_WRITEBACK_DURABILITY": "local"}
    told: list[tuple[float, float]] = []

    def note(progress: Progress) -> None:
        if isinstance(progress, Draining) and progress.eta_s is not None:
            told.append((time.monotonic(), progress.eta_s))

    with (
        running_server(tmp_path / "server", "--rpm", "100") as server,
        mounted(tmp_path, server.url, server.key, settings=settings) as mount,
    ):
        for number in range(150):
            (mount.path / f"{number}.bin").write_bytes(b"%d" % number)
        control = ControlClient(mount.state / SOCKET_NAME)
        assert control.call(FLUSH, FlushParams(timeout_s=300), timeout_s=310, report=note).left == 0
        end = time.monotonic()
    # Of the last seconds a fifth is less than the time of one request.
    wrong = [(end - at, eta_s) for at, eta_s in told if end - at > 10 and abs(eta_s - (end - at)) > (end - at) / 5]
    assert len(told) > 50
    assert not wrong
