"""The limits of bandwidth: the rate that is asked for, evenly over the streams, and a small file does not queue."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from remotefs.api.bandwidth import Bandwidth, ByteBucket
from remotefs.api.budget import Budget, Priority, Ticket
from remotefs.api.client import Client
from remotefs.api.download import Turns
from remotefs.api.multipart import upload_form
from remotefs.api.upload import BytesSource, UploadBody
from remotefs.config import Secret, ServiceConfig
from tests.faults import KEY, FaultyServer, faulty_server

MB = 1_000_000


@pytest.fixture
def clock() -> trio.abc.Clock:
    return trio.testing.MockClock(autojump_threshold=0.0)


@given(
    st.lists(st.tuples(st.integers(1, 600_000), st.floats(0.0, 2.0)), min_size=1, max_size=50),
    st.integers(1024, 10 * MB),
)
def test_however_slices_are_taken_no_more_flows_than_the_rate_and_what_is_saved(
    takes: list[tuple[int, float]], rate: int
) -> None:
    bucket, now, flowed = ByteBucket(rate, 0.0), 0.0, 0
    for size, pause_s in takes:
        now += max(pause_s, bucket.wait_s(now))
        assert flowed <= rate * (now + 0.2) + bucket.slice_bytes + size
        bucket.take(size, now)
        flowed += size
    now += bucket.wait_s(now)
    assert flowed <= rate * (now + 0.2) + bucket.slice_bytes


async def _flow(bandwidth: Bandwidth, size: int) -> float:
    """Let a stream take all of its bytes; when it had them."""
    had = 0
    while had < size:
        piece = min(bandwidth.slice_bytes, size - had)
        await bandwidth.take(piece, had=had)
        had += piece
    return trio.current_time()


@pytest.mark.parametrize("streams", [1, 8])
async def test_the_streams_share_the_rate_evenly(clock: trio.abc.Clock, streams: int) -> None:
    bandwidth, ends, began = Bandwidth(2 * MB), [], trio.current_time()

    async def run() -> None:
        ends.append(await _flow(bandwidth, 20 * MB // streams) - began)

    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(run)
    assert max(ends) == pytest.approx(10.0, rel=0.02)
    assert min(ends) == pytest.approx(10.0, rel=0.08)


async def test_a_small_file_does_not_queue_behind_large_ones_and_many_small_ones_stop_no_large_one(
    clock: trio.abc.Clock,
) -> None:
    bandwidth = Bandwidth(MB)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(_flow, bandwidth, 100 * MB)
        await trio.sleep(10.0)
        began = trio.current_time()
        await _flow(bandwidth, 4096)
        assert trio.current_time() - began < 0.15

        async def many() -> None:
            while True:
                await _flow(bandwidth, 50_000)

        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(many)
        began = trio.current_time()
        await _flow(bandwidth, 2 * MB)
        # Each fourth turn is for the one that waits longest: a tenth of the rate at the very least.
        assert trio.current_time() - began < 45.0
        nursery.cancel_scope.cancel()


async def test_a_changed_limit_holds_for_streams_that_wait_already(clock: trio.abc.Clock) -> None:
    bandwidth = Bandwidth(1024)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_flow, bandwidth, MB)
        await trio.sleep(5.0)
        began = trio.current_time()
        bandwidth.set_rate(0)
    assert trio.current_time() == began


async def test_a_stream_that_is_cut_while_it_waits_leaves_its_turn_to_the_others(clock: trio.abc.Clock) -> None:
    bandwidth = Bandwidth(MB)
    with trio.move_on_after(1.0):
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(_flow, bandwidth, 100 * MB)
    began = trio.current_time()
    await _flow(bandwidth, MB)
    assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)


async def test_r7_a_reader_does_not_take_the_wait_for_the_silence_of_the_service(clock: trio.abc.Clock) -> None:
    bandwidth, ticket = Bandwidth(4096), Ticket(Priority.INTERACTIVE_READ)
    turns = Turns(bandwidth, ticket)

    async def read() -> bytes:
        assert not ticket.is_waiting
        return bytes(4096)

    await turns.next(read, had=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: turns.next(read, had=4096))
        await trio.sleep(0.5)
        assert ticket.is_waiting


async def test_an_upload_keeps_bytes_flowing_in_small_pieces(clock: trio.abc.Clock) -> None:
    bandwidth, content = Bandwidth(100 * 1024), bytes(range(256)) * 2000

    async def pieces() -> AsyncGenerator[bytes, None]:
        async for piece in BytesSource(content).pieces():
            yield piece

    told: list[int] = []
    form, sent = upload_form("a", "text/plain", "b", None), b""
    body = UploadBody(form, len(content), pieces(), lambda: told.append(body.handed_over_bytes), bandwidth)
    last = trio.current_time()
    async for piece in body:
        sent += piece
        assert trio.current_time() - last < 0.1
        last = trio.current_time()
    assert sent == form.prefix + content + form.suffix
    assert (told, body.all_sent) == ([len(sent)], True)


@pytest.fixture
def server(tmp_path: Path) -> FaultyServer:  # type: ignore[misc]
    with faulty_server(tmp_path / "server", uploads_downloadable=True) as running:
        yield running  # type: ignore[misc]


@pytest.mark.parametrize("files", [4])
async def test_over_a_socket_both_directions_keep_to_their_rates(server: FaultyServer, files: int) -> None:
    """Real time, and so short; docs/benchmarks.md has longer ones."""
    size, rate = 2 * MB // files, 2 * MB
    config = ServiceConfig(
        base_url=server.url, api_key=Secret(KEY), requests_per_minute=0, upload_rate=rate, download_rate=rate
    )
    async with Client(config, Budget(None)) as client:
        ids: list[str] = []

        async def up(number: int) -> None:
            source = BytesSource(bytes(size))
            ids.append((await client.upload(f"f{number}", source, priority=Priority.QUEUED_UPLOAD)).id)

        async def down(file_id: str) -> None:
            async with client.download(file_id, priority=Priority.INTERACTIVE_READ) as body:
                assert sum([len(piece) async for piece in body]) == size

        for step, arguments in ((up, range(files)), (down, ids)):
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for argument in list(arguments):
                    nursery.start_soon(step, argument)
            # The first slice goes out at once; the machine may be busy.
            assert 0.85 < trio.current_time() - began < 1.6
