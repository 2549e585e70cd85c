"""A look at the beginning of a file costs little, and nobody who reads later notices it (R8)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trio.testing

from remotefs.data.download.concurrency import MAX_CONCURRENCY, StreamConcurrency
from remotefs.data.download.readahead import LOOK_BYTES, ReadWindow
from remotefs.data.download.stream import CLOSED_PAUSE_S, PAUSE_S
from remotefs.data.download.transfer import MAX_STREAMS
from tests.content import paged
from tests.data.download.scene import MIB, Bench, Service, running

Clock = trio.testing.MockClock
KIB = 1024
CHUNK = 128 * KIB
LARGE = paged(40 * MIB, seed=7)
# What one connection takes for it.
ALONE_S = 4.0
# Too small for several streams, too large to be fetched whole by whoever begins to read it.
MIDDLE = LARGE[: 14 * MIB]
NAMES = ("a", "b", "c", "d")


def service_of(**properties: object) -> Service:
    """Four large files behind 30 ms and 10 MiB/s a connection."""
    usual = {"latency_s": 0.03, "piece": MIB // 4, "bytes_per_s": 10 * MIB}
    return Service(dict.fromkeys(NAMES, LARGE), **(usual | properties))


def as_configured(folder: Path, service: Service, **downloading: object) -> AbstractAsyncContextManager[Bench]:
    return running(folder, service, readahead=8 * MIB, chunk=CHUNK, **downloading)


async def look(bench: Bench, file_id: str, *, close: bool = True) -> None:
    """`head -c 4096`: what the kernel asks for then."""
    assert await bench.read(0, 16 * KIB, ReadWindow(), file_id) == LARGE[: 16 * KIB]
    if close:
        bench.downloader.stop_readahead(file_id)


async def time_to_read(bench: Bench, file_id: str) -> float:
    window, began = ReadWindow(), trio.current_time()
    for offset in range(0, len(LARGE), MIB):
        assert await bench.read(offset, MIB, window, file_id) == LARGE[offset : offset + MIB]
    return trio.current_time() - began


# -- what it costs


@pytest.mark.parametrize("close", [True, False])
async def test_a_look_is_one_request_of_256_kib(tmp_path: Path, autojump_clock: Clock, close: bool) -> None:
    service = service_of()
    async with as_configured(tmp_path, service) as bench:
        await look(bench, "a", close=close)
        await trio.sleep(2 * PAUSE_S)
        window = ReadWindow()
        for offset in (0, 16 * KIB, 80 * KIB):
            await bench.read(offset, 16 * KIB, window, "a")
        await trio.sleep(1)
    assert [(request.offset, request.length) for request in service.requests] == [(0, LOOK_BYTES)]
    assert service.bytes_sent == LOOK_BYTES


@pytest.mark.parametrize("size", [1, 200 * KIB, LOOK_BYTES])
async def test_a_small_file_comes_whole_with_it(tmp_path: Path, autojump_clock: Clock, size: int) -> None:
    service = Service({"f1": LARGE[:size]})
    async with as_configured(tmp_path, service) as bench:
        await bench.read(0, 16 * KIB, ReadWindow())
        await trio.sleep(1)
        assert bench.content.has_all("f1")
    assert len(service.requests) == 1


async def test_who_reads_on_after_a_look_pays_one_request_more(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"m": MIDDLE})
    async with as_configured(tmp_path, service) as bench:
        window, offset, sizes = ReadWindow(), 0, [16, 64, 128, 256, 512]
        # As the kernel asks for a program that reads by 4 KiB.
        while offset < len(MIDDLE):
            size = KIB * (sizes.pop(0) if sizes else 1024)
            assert await bench.read(offset, size, window, "m") == MIDDLE[offset : offset + size]
            offset += size
    assert [request.offset for request in service.requests] == [0, LOOK_BYTES]
    assert service.bytes_sent == len(MIDDLE)


async def test_a_first_read_of_128_kib_opens_the_stream_at_once(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"m": MIDDLE})
    async with as_configured(tmp_path, service) as bench:
        window = ReadWindow()
        for offset in range(0, len(MIDDLE), CHUNK):
            await bench.read(offset, CHUNK, window, "m")
    assert len(service.requests) == 1


async def test_an_open_for_the_length_brings_a_look_and_a_reader_goes_on_from_there(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    service = service_of()
    async with as_configured(tmp_path, service) as bench:
        for file_id in "ab":
            await bench.downloader.verify_length(file_id, len(LARGE))
        await trio.sleep(1)
        assert service.bytes_sent <= 2 * (LOOK_BYTES + CHUNK + service.piece)
        bench.downloader.stop_readahead("a")
        await trio.sleep(CLOSED_PAUSE_S + 0.1)
        assert [request.closed for request in service.requests] == [True, False]
        await time_to_read(bench, "b")
    assert len([request for request in service.requests if request.offset < MIB]) == 2


async def test_without_ranges_a_look_that_was_closed_brings_no_whole_file(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    service = service_of(ranges=False)
    async with as_configured(tmp_path, service) as bench:
        await look(bench, "a")
        await trio.sleep(10)
        assert service.requests[0].closed
        assert service.bytes_sent < 4 * MIB
        await look(bench, "b", close=False)
        await trio.sleep(10)
        assert bench.content.has_all("b"), "while it is open all of it is worth having"
    assert len(service.requests) == 2


# -- what it changes for others: nothing


@pytest.mark.parametrize("close", [True, False])
async def test_after_looks_a_large_file_is_tried_with_several_streams(
    tmp_path: Path, autojump_clock: Clock, close: bool
) -> None:
    found: list[int] = []
    async with as_configured(tmp_path, service_of(), concurrency=StreamConcurrency(1, found.append)) as bench:
        for file_id in "abc":
            await look(bench, file_id, close=close)
        assert await time_to_read(bench, "d") < 0.75 * ALONE_S
    assert found == [MAX_CONCURRENCY]


@pytest.mark.parametrize("paused", [1, 3])
async def test_beside_paused_readers_too(tmp_path: Path, autojump_clock: Clock, paused: int) -> None:
    """A video that stands still, a program that takes its time."""
    found: list[int] = []
    async with as_configured(tmp_path, service_of(), concurrency=StreamConcurrency(1, found.append)) as bench:
        for file_id in NAMES[:paused]:
            await bench.read(0, MIB, ReadWindow(), file_id)
        await trio.sleep(2)
        assert bench.downloader.statistics().paused > 0
        assert await time_to_read(bench, "d") < 0.75 * ALONE_S
        assert found == [MAX_CONCURRENCY]
        assert await time_to_read(bench, "d") == 0


async def test_where_several_streams_pay_they_are_used_beside_paused_readers(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with as_configured(tmp_path, service_of(), concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench:
        for file_id in "abc":
            window = ReadWindow()
            for offset in range(0, 2 * MIB, MIB):
                await bench.read(offset, MIB, window, file_id)
        await trio.sleep(20)
        assert await time_to_read(bench, "d") < 0.25 * ALONE_S


async def test_looks_while_a_large_file_is_read_do_not_end_what_is_being_found_out(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    service = service_of()
    service.files |= dict.fromkeys((f"s{n}" for n in range(500)), MIDDLE)
    found: list[int] = []
    async with (
        as_configured(tmp_path, service, concurrency=StreamConcurrency(1, found.append)) as bench,
        trio.open_nursery() as nursery,
    ):

        async def browse() -> None:
            for n in range(500):
                await look(bench, f"s{n}")

        nursery.start_soon(browse)
        assert await time_to_read(bench, "d") < 0.75 * ALONE_S
        nursery.cancel_scope.cancel()
    assert found == [MAX_CONCURRENCY]


async def test_what_nobody_reads_on_is_let_go_once_it_is_closed(tmp_path: Path, autojump_clock: Clock) -> None:
    service = service_of()
    async with as_configured(tmp_path, service) as bench:
        window = ReadWindow()
        await bench.read(0, MIB, window, "a")
        await trio.sleep(5)
        assert bench.downloader.statistics().paused == 1, "its reader may come back"
        bench.downloader.stop_readahead("a")
        await trio.sleep(CLOSED_PAUSE_S / 2)
        await bench.read(MIB, MIB, window, "a")
        await trio.sleep(5)
        assert bench.downloader.statistics().paused == 1, "it did"
        bench.downloader.stop_readahead("a")
        await trio.sleep(CLOSED_PAUSE_S + 0.1)
        assert bench.downloader.statistics().streams == 0
    assert len(service.requests) == 1


async def test_paused_readers_do_not_keep_others_files_from_being_fetched_ahead(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    service = service_of()
    service.files |= {f"p{n}": LARGE for n in range(MAX_STREAMS - 4)} | {"next": LARGE[:1000]}
    async with as_configured(tmp_path, service) as bench:
        for n in range(MAX_STREAMS - 4):
            await bench.read(0, MIB, ReadWindow(), f"p{n}")
        await trio.sleep(5)
        assert bench.downloader.statistics().paused == MAX_STREAMS - 4
        bench.downloader.prefetch("next", 1000)
        await trio.sleep(1)
        assert bench.content.has_all("next")
