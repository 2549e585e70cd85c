"""The metrics: names that Prometheus takes, few labels, and a server that nobody can hold up."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_text

from remotefs.control.messages.status import Counters, ExpiringFiles, PendingKind, RequestCount, Status, Timing
from remotefs.counters import BUCKETS_S
from remotefs.mount.exposition import MetricsServer
from remotefs.mount.metrics import exposition

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
BUSY = Status(
    mountpoint="/home/me/secret-place", state_dir="/state", base_url="https://api.example.com", pid=42, online=True,
    pending=(PendingKind(kind="upload", count=3, oldest_age_s=7200.0),), pending_bytes=12345, files=7,
    expiring=ExpiringFiles(count=3, first="d/soon.txt", first_at=0.0),
    counters=Counters(
        since=1.0, buckets_s=BUCKETS_S,
        requests=(RequestCount(kind="upload", status=200, count=5), RequestCount(kind="upload", status=0, count=1)),
        request_times=(Timing(name="upload", count=6, errors=1, seconds=3.5, within=(0, 0, 1, 2, 3, 4, 5, 6, 6)),),
        operations=(Timing(name="read", count=2, errors=1, seconds=0.5, within=(0, 0, 0, 1, 2, 2, 2, 2, 2)),),
        errors={"Unreachable": 1}, uploaded_bytes=1000, cache_hits=9, cache_misses=1,
    ),
)  # fmt: skip


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = parse_open(text) if text.endswith("# EOF\n") else parse_text(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["", "text/plain", OPEN_METRICS])
def test_each_format_says_the_same_and_can_be_parsed(accept: str) -> None:
    text, content_type = exposition(accept, BUSY)
    assert ("openmetrics" in content_type) == (accept == OPEN_METRICS)
    found = samples(text.decode())
    assert found["remotefs_pending_changes", (("kind", "upload"),)] == 3
    assert found["remotefs_oldest_pending_seconds", (("kind", "upload"),)] == 7200
    assert found["remotefs_pending_bytes", ()] == 12345
    assert found["remotefs_requests_total", (("kind", "upload"), ("status", "none"))] == 1
    assert found["remotefs_request_duration_seconds_sum", (("kind", "upload"),)] == 3.5
    assert found["remotefs_request_duration_seconds_bucket", (("kind", "upload"), ("le", "1.0"))] == 4
    assert found["remotefs_operation_duration_seconds_count", (("operation", "read"),)] == 2
    assert found["remotefs_content_reads_total", (("result", "hit"),)] == 9
    assert found["remotefs_uploaded_bytes_total", ()] == 1000
    assert found["remotefs_request_errors_total", (("error", "Unreachable"),)] == 1
    # No path, no name and no address of anybody.
    assert not any(word in text.decode() for word in ("secret-place", "soon.txt", "example.com", "/state"))


async def _scrape(accept: str) -> tuple[bytes, str]:
    return exposition(accept, BUSY)


@asynccontextmanager
async def serving(address: Path | tuple[str, int]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(MetricsServer(address, _scrape).run)
        await trio.testing.wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream, request: bytes) -> bytes:
    """What comes as the reply to a request, up to the end of its body."""
    await stream.send_all(request)
    came = b""
    with trio.fail_after(5.0):
        while piece := await stream.receive_some():
            came += piece
            head, _, body = came.partition(b"\r\n\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length")), None
            )
            if length is not None and len(body) >= length:
                break
    return came


async def test_over_a_unix_socket_that_only_its_owner_may_use_one_connection_serves_many_scrapes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as left:  # a mount that was killed left one
        left.bind(str(path))
    async with serving(path):
        assert path.stat().st_mode & 0o777 == 0o600
        async with await trio.open_unix_socket(path) as stream:
            for _ in range(3):
                reply = await ask(stream, b"GET /metrics HTTP/1.1\r\nHost: any\r\n\r\n")
                assert reply.startswith(b"HTTP/1.1 200")
                assert samples(reply.partition(b"\r\n\r\n")[2].decode())["remotefs_files", ()] == 7
    assert not path.exists()


@pytest.mark.parametrize(
    ("request_line", "host", "status"),
    [
        ("GET /metrics", "127.0.0.1:9", 200), ("HEAD /metrics", "localhost", 200), ("GET /metrics?x=1", "[::1]:9", 200),
        ("GET /", "localhost", 404), ("POST /metrics", "localhost", 405), ("GET /metrics", "evil.example.com", 403),
    ],
)  # fmt: skip
async def test_over_a_port_only_this_machines_names_and_one_path_are_answered(
    request_line: str, host: str, status: int
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    async with serving(address), await trio.open_tcp_stream(*address) as stream:
        await stream.send_all(f"{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        with trio.fail_after(5.0):
            reply = b"".join([piece async for piece in stream])
    assert reply.startswith(f"HTTP/1.1 {status} ".encode())


async def test_callers_that_are_many_slow_or_odd_hold_nobody_up(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    path = tmp_path / "m.sock"
    async with serving(path):
        idle = [await trio.open_unix_socket(path) for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked()
        # Those past the limit were closed at once, the others are after a while.
        with trio.fail_after(1.0):
            assert await idle[-1].receive_some() == b""
        await trio.sleep(150.0)
        async with await trio.open_unix_socket(path) as odd:
            await odd.send_all(b"GET /" + b"x" * 100_000)
            with trio.fail_after(1.0):
                with suppress(trio.BrokenResourceError):
                    assert await odd.receive_some() == b""
        async with await trio.open_unix_socket(path) as stream:
            assert (await ask(stream, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for one in idle:
            await one.aclose()
