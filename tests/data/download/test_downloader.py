"""Reading what is not here: each read gets exactly its bytes or an error, with as few requests as can be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from remotefs.api.budget import Priority, Ticket
from remotefs.api.client import Client
from remotefs.config import CacheConfig
from remotefs.data.content.chunks import Layout
from remotefs.data.download.concurrency import MAX_CONCURRENCY, StreamConcurrency
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.readahead import ReadWindow
from remotefs.data.download.source import ContentSource
from remotefs.data.download.stream import PAUSE_S, Assembler
from remotefs.data.download.transfer import MAX_STREAMS
from remotefs.errors import (
    CorruptionError,
    DeadlineExceeded,
    FileExpired,
    LengthDiffers,
    NotDownloadable,
    OutOfSpace,
    RemoteNotFound,
    ReplyBroken,
    StaleError,
    Unreachable,
)
from tests.content import paged
from tests.data.download.scene import (
    BIG,
    CHUNK,
    MIB,
    READ,
    READAHEAD,
    Bench,
    Body,
    Service,
    body,
    downloader_of,
    read_through,
    running,
)  # fmt: skip


def conforms(client: Client) -> ContentSource:
    """The API client is a source: for the type checker."""
    return client


# -- one file, one request


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 40 * CHUNK + 7, len(BIG)])
async def test_reading_a_cold_file_through_costs_one_request(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, ranges: bool, size: int
) -> None:
    service = Service({"f1": BIG[:size]}, ranges=ranges, bytes_per_s=MIB, latency_s=0.1)
    async with running(tmp_path, service) as bench:
        assert await read_through(bench, size) == BIG[:size]
        assert await read_through(bench, size) == BIG[:size]
    assert len(service.requests) == 1
    assert service.bytes_sent == size


async def test_fifty_readers_share_one_request(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, bytes_per_s=MIB, latency_s=0.1)
    results = []

    async def reader(bench: Bench) -> None:
        results.append(await read_through(bench, len(BIG)))

    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(reader, bench)
    assert len(results) == 50
    assert set(results) == {BIG}
    assert len(service.requests) == 1


async def test_a_reader_is_woken_as_its_bytes_arrive(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, bytes_per_s=CHUNK)  # one chunk a second
    async with running(tmp_path, service) as bench:
        started = trio.current_time()
        await bench.read(0, CHUNK, ReadWindow())
        assert trio.current_time() - started < 2


async def test_a_far_read_does_not_wait_for_the_stream(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, bytes_per_s=CHUNK)
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(bench.downloader.fetch_all, "f1", len(BIG))
        await trio.sleep(1.5)
        started = trio.current_time()
        assert await bench.read(300 * CHUNK, CHUNK) == BIG[300 * CHUNK : 301 * CHUNK]
        assert trio.current_time() - started <= 2
        assert [(r.offset, r.length) for r in service.requests] == [(0, None), (300 * CHUNK, CHUNK)]
        nursery.cancel_scope.cancel()


async def test_the_reads_that_a_kernel_sends_ahead_at_once_are_one_stream(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, bytes_per_s=MIB, latency_s=0.1)
    window = ReadWindow()
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        for index in (0, 1, 3, 2, 4, 5):
            nursery.start_soon(bench.read, index * CHUNK, CHUNK, window)
            await trio.testing.wait_all_tasks_blocked()
    assert len(service.requests) == 1


async def test_random_reads_fetch_what_they_need_and_little_more(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    window = ReadWindow()
    async with running(tmp_path, service) as bench:
        for index in (390, 100, 250, 180):
            assert await bench.read(index * CHUNK + 10, 100, window) == BIG[index * CHUNK + 10 : index * CHUNK + 110]
    assert service.bytes_sent == 4 * CHUNK


async def test_several_files_at_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    files = {f"f{n}": body(20 * CHUNK + n) for n in range(80)}
    service = Service(files, bytes_per_s=10 * CHUNK, latency_s=0.1)
    found = {}

    async def reader(bench: Bench, file_id: str) -> None:
        found[file_id] = await bench.read(0, 1 << 30, None, file_id)

    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        for file_id in files:
            nursery.start_soon(reader, bench, file_id)
    assert found == files
    assert len(service.requests) == len(files)


@given(
    reads=st.lists(st.tuples(st.integers(0, 30 * CHUNK), st.integers(1, 5 * CHUNK)), min_size=1, max_size=12),
    ranges=st.booleans(),
)
def test_any_reads_at_once_get_their_bytes(
    tmp_path_factory: pytest.TempPathFactory, reads: list[tuple[int, int]], ranges: bool
) -> None:
    data = BIG[: 30 * CHUNK - 7]
    found = []

    async def reader(bench: Bench, offset: int, size: int) -> None:
        found.append(await bench.read(offset, size) == data[offset : offset + size])

    async def main() -> None:
        service = Service({"f1": data}, ranges=ranges, bytes_per_s=MIB, latency_s=0.01)
        folder = tmp_path_factory.mktemp("d")
        async with running(folder, service, readahead=4 * CHUNK) as bench, trio.open_nursery() as nursery:
            for offset, size in reads:
                nursery.start_soon(reader, bench, offset, size)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert found == [True] * len(reads)


# -- back-pressure


async def test_a_stream_stops_after_the_readahead_window(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        window = ReadWindow()
        await bench.read(0, READ, window)
        await trio.sleep(1)
        assert service.bytes_sent <= READ + READAHEAD + service.piece
        assert bench.downloader.statistics().paused == 1
        await bench.read(READ, READ, window)
        await bench.read(2 * READ, READ, window)
        await trio.sleep(1)
        assert len(service.requests) == 1, "it goes on where it paused"
        assert service.bytes_sent > READ + READAHEAD
        await trio.sleep(PAUSE_S + 1)
        assert service.requests[0].closed
        assert bench.downloader.statistics().streams == 0
        assert await bench.read(200 * CHUNK, CHUNK, window) == BIG[200 * CHUNK : 201 * CHUNK]


async def test_without_ranges_a_stream_goes_on_to_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, ranges=False)
    async with running(tmp_path, service) as bench:
        assert await bench.read(50 * CHUNK, CHUNK) == BIG[50 * CHUNK : 51 * CHUNK]
        await trio.sleep(1)
        assert bench.content.has_all("f1")
        assert bench.downloader.statistics().ranges is False
    assert len(service.requests) == 1


async def test_paused_streams_make_way_for_new_ones(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    files = {f"f{n}": BIG for n in range(MAX_STREAMS + 10)}
    service = Service(files)
    async with running(tmp_path, service) as bench:
        started = trio.current_time()
        for file_id in files:
            assert await bench.read(0, 10, ReadWindow(), file_id) == BIG[:10]
        assert trio.current_time() - started < 1
        assert bench.downloader.statistics().streams <= MAX_STREAMS


async def test_streams_that_would_pause_do_not_while_others_wait(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    files = {f"f{n}": BIG for n in range(MAX_STREAMS + 10)}
    service = Service(files, latency_s=0.5)
    async with running(tmp_path, service) as bench:
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            for file_id in files:
                nursery.start_soon(bench.read, 0, 10, ReadWindow(), file_id)
        assert trio.current_time() - started < 2


async def test_a_reader_that_gives_up_does_not_stop_it_for_others(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, bytes_per_s=10 * CHUNK, latency_s=1)
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        impatient = trio.CancelScope()

        async def first() -> None:
            with impatient:
                await bench.read(0, 20 * CHUNK)

        nursery.start_soon(first)
        await trio.sleep(0.5)
        nursery.start_soon(bench.read, 0, 20 * CHUNK)
        await trio.sleep(1)
        impatient.cancel()
    assert impatient.cancelled_caught
    assert len(service.requests) == 1


# -- parts side by side

LARGE = paged(96 * MIB, seed=3)


def parallel_service(**properties: Any) -> Service:
    return Service({"f1": LARGE, "f2": LARGE}, latency_s=0.03, piece=MIB // 4, **properties)


@asynccontextmanager
async def running_as_configured(folder: Path, service: Service, **downloading: Any) -> AsyncIterator[Bench]:
    async with running(folder, service, readahead=8 * MIB, chunk=128 * 1024, **downloading) as bench:
        yield bench


async def time_to_read(bench: Bench, file_id: str) -> float:
    window, began = ReadWindow(), trio.current_time()
    for offset in range(0, len(LARGE), MIB):
        assert await bench.read(offset, MIB, window, file_id) == LARGE[offset : offset + MIB]
    return trio.current_time() - began


async def test_where_connections_are_slow_parts_come_side_by_side(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = parallel_service(bytes_per_s=10 * MIB)
    found: list[int] = []
    async with running_as_configured(tmp_path, service, concurrency=StreamConcurrency(1, found.append)) as bench:
        assert await time_to_read(bench, "f1") < 5, "one would take 9.6 s"
        assert found == [MAX_CONCURRENCY]
        requests = len(service.requests)
        assert await time_to_read(bench, "f2") < 2
        assert len(service.requests) - requests < 40
    assert service.bytes_sent < 2.1 * len(LARGE), "nothing is fetched twice"


async def test_round_trips_pass_while_other_parts_come(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = parallel_service(bytes_per_s=40 * MIB)
    async with running_as_configured(tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench:
        assert await time_to_read(bench, "f1") < 0.5, "eight connections that never wait would take 0.3 s"
    assert len(service.requests) < 25


async def test_where_one_connection_fills_the_link_it_stays_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = parallel_service(bytes_per_s=100 * MIB, link_bytes_per_s=40 * MIB)
    async with running_as_configured(tmp_path, service) as bench:
        await time_to_read(bench, "f1")
        assert len(service.requests) < 16, "others were tried once"
        requests = len(service.requests)
        await time_to_read(bench, "f2")
        assert len(service.requests) - requests == 1


async def test_without_ranges_nothing_is_tried(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = parallel_service(bytes_per_s=10 * MIB, ranges=False)
    async with running_as_configured(tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench:
        await time_to_read(bench, "f1")
        await time_to_read(bench, "f2")
    assert len(service.requests) == 2


async def test_where_requests_are_limited_parts_are_larger(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = parallel_service(bytes_per_s=10 * MIB)
    async with running_as_configured(
        tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY), is_limited=lambda _: True
    ) as bench:
        assert await time_to_read(bench, "f1") < 5
    assert len(service.requests) < 20


async def test_files_that_are_read_at_the_same_time_share_the_lanes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = parallel_service(bytes_per_s=10 * MIB)
    most = 0
    async with (
        running_as_configured(tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench,
        trio.open_nursery() as nursery,
    ):
        for file_id in service.files:
            nursery.start_soon(time_to_read, bench, file_id)
        await trio.sleep(0.5)
        for _ in range(20):
            most = max(most, bench.downloader.statistics().streams)
            await trio.sleep(0.02)
    assert most <= 2 * MAX_CONCURRENCY


async def test_a_part_that_is_cut_is_continued(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = parallel_service(bytes_per_s=10 * MIB, cuts={2: MIB + 7, 5: 3, 7: 2 * MIB})
    async with running_as_configured(tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench:
        await time_to_read(bench, "f1")
    assert service.bytes_sent < 1.1 * len(LARGE)


async def test_what_nobody_will_read_any_more_is_not_fetched(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = parallel_service(bytes_per_s=10 * MIB)
    async with running_as_configured(tmp_path, service, concurrency=StreamConcurrency(MAX_CONCURRENCY)) as bench:
        window = ReadWindow()
        for offset in range(0, 12 * MIB, MIB):
            await bench.read(offset, MIB, window)
        assert MAX_CONCURRENCY <= bench.downloader.statistics().streams <= MAX_CONCURRENCY * 3 // 2
        sent = service.bytes_sent
        bench.downloader.stop_readahead("f1")
        await trio.sleep(20)
        assert service.bytes_sent - sent < 8 * MIB, "each reply brings what is just coming"
        assert await time_to_read(bench, "f1") < 5, "and goes on where somebody reads on"
    assert service.bytes_sent < 1.2 * len(LARGE)


# -- without ranges


async def test_without_ranges_many_far_reads_are_one_stream(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, ranges=False, bytes_per_s=MIB, latency_s=0.1)
    async with running(tmp_path, service) as bench:
        await bench.read(399 * CHUNK, 10)
        service.files["f2"] = BIG
        async with trio.open_nursery() as nursery:
            for index in (300, 20, 399, 0, 150):
                nursery.start_soon(bench.read, index * CHUNK, CHUNK, None, "f2")
    assert len(service.requests) == 2


async def test_while_nothing_is_known_of_ranges_one_of_many_readers_tries_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, ranges=False, bytes_per_s=MIB, latency_s=0.1)
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        for index in (300, 20, 399):
            nursery.start_soon(bench.read, index * CHUNK, CHUNK)
    assert len(service.requests) == 1
    assert service.bytes_sent == len(BIG)


async def test_where_the_one_that_tried_was_answered_the_others_go_on_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service, began = Service({"f1": BIG}, latency_s=0.1), trio.current_time()
    async with running(tmp_path, service) as bench:
        async with trio.open_nursery() as nursery:
            for index in (300, 20, 399):
                nursery.start_soon(bench.read, index * CHUNK, CHUNK)
        assert trio.current_time() - began < 0.25
    assert len(service.requests) == 3


async def test_where_ranges_stop_working_readers_that_tried_one_share_the_whole_body(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG, "f2": BIG}, bytes_per_s=MIB, latency_s=0.1)
    async with running(tmp_path, service) as bench:
        await bench.read(300 * CHUNK, 1)
        before, service.ranges = service.bytes_sent, False
        async with trio.open_nursery() as nursery:
            for index in (300, 20, 399):
                nursery.start_soon(bench.read, index * CHUNK, CHUNK, None, "f2")
    assert service.bytes_sent - before < len(BIG) + 10 * CHUNK, "the body is read once"


async def test_what_the_one_stream_has_passed_is_fetched_by_another(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, ranges=False, bytes_per_s=MIB)
    async with running(tmp_path, service) as bench:
        await bench.read(399 * CHUNK, 10)
        bench.damage()
        assert await bench.read(0, CHUNK) == BIG[:CHUNK]


# -- bodies that break


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("error", [ReplyBroken("cut"), DeadlineExceeded("slow")])
async def test_a_body_cut_half_way_is_continued(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, ranges: bool, error: Exception
) -> None:
    service = Service({"f1": BIG}, ranges=ranges, cuts={0: 100 * CHUNK + 5, 1: 150 * CHUNK + 1}, cut_error=error)
    async with running(tmp_path, service) as bench:
        assert await bench.read(0, len(BIG)) == BIG
    assert len(service.requests) == 3
    if ranges:
        assert [r.offset for r in service.requests] == [0, 100 * CHUNK, 250 * CHUNK]


async def test_a_body_that_is_always_cut_is_an_error_in_the_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, cuts=dict.fromkeys(range(100), 10))
    async with running(tmp_path, service) as bench:
        with pytest.raises(ReplyBroken):
            await bench.read(0, CHUNK)
        assert len(service.requests) < 10
        service.cuts = {}
        assert await bench.read(0, CHUNK) == BIG[:CHUNK], "the next read tries anew"


async def test_slow_progress_is_not_taken_for_failure(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, cuts=dict.fromkeys(range(50), CHUNK))
    async with running(tmp_path, service) as bench:
        assert await bench.read(0, 40 * CHUNK) == BIG[: 40 * CHUNK]


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (RemoteNotFound("gone", status=404), StaleError),
        (FileExpired("expired", status=404), StaleError),
        (NotDownloadable("no", status=400), NotDownloadable),
        (Unreachable("down"), Unreachable),
        (RuntimeError("a bug"), RuntimeError),
    ],
)
async def test_what_the_service_says_reaches_every_reader(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, refusal: Exception, told: type[Exception]
) -> None:
    service = Service({"f1": BIG}, refusal=refusal, latency_s=0.1)
    caught = []

    async def reader(bench: Bench, offset: int) -> None:
        with pytest.raises(told) as info:
            await bench.read(offset, CHUNK)
        caught.append(info.type)

    async with running(tmp_path, service) as bench:
        async with trio.open_nursery() as nursery:
            for offset in (0, 0, CHUNK, 200 * CHUNK):
                nursery.start_soon(reader, bench, offset)
        assert caught == [told] * 4
        service.refusal = None
        assert await bench.read(0, CHUNK) == BIG[:CHUNK], "the downloader goes on"


async def test_a_file_deleted_while_it_is_read(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, cuts={0: 100 * CHUNK})
    async with running(tmp_path, service) as bench:
        window = ReadWindow()
        await bench.read(0, CHUNK, window)
        service.refusal = RemoteNotFound("gone", status=404)
        with pytest.raises(StaleError):
            await bench.read(0, len(BIG))
        assert await bench.read(0, CHUNK) == BIG[:CHUNK], "what is here reads on"


async def test_forgetting_a_file_ends_its_readers(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG}, latency_s=1000)
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:

        async def reader() -> None:
            with pytest.raises(StaleError):
                await bench.read(0, CHUNK)

        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        bench.downloader.forget("f1")
        await trio.testing.wait_all_tasks_blocked()
        assert bench.downloader.statistics().streams == 0


@pytest.mark.parametrize("announce", [True, False])
@pytest.mark.parametrize("listed", [len(BIG) - 3 * CHUNK, len(BIG) - 1, len(BIG) + 1, len(BIG) + 3 * CHUNK])
async def test_another_length_than_listed_is_its_own_error(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, announce: bool, listed: int
) -> None:
    service = Service({"f1": BIG}, announce=announce)
    async with running(tmp_path, service) as bench:
        with pytest.raises(LengthDiffers) as info:
            await bench.downloader.read("f1", listed, 0, listed, None)
        assert info.value.listed_bytes == listed
        assert info.value.actual_bytes in (len(BIG), None)
        assert await bench.downloader.read("f1", len(BIG), 0, len(BIG), None) == BIG


# -- a full disk, a damaged one


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_full_disk_does_not_stop_reading(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, ranges: bool
) -> None:
    service = Service({"f1": BIG}, ranges=ranges)
    async with running(tmp_path, service) as bench:
        bench.space.f_bavail = 0
        assert await read_through(bench, len(BIG)) == BIG
        assert len(service.requests) == 1
        assert not bench.content.has_all("f1")


async def test_a_full_disk_and_no_memory_do_not_stop_reading(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        bench.space.f_bavail = 0
        bench.memory.put("other", 0, b"x" * (32 * MIB))
        downloader = downloader_of(service, bench.content, ChunkMemory(0), CacheConfig(chunk_bytes=CHUNK))
        async with trio.open_nursery() as nursery:
            await nursery.start(downloader.run)
            assert await downloader.read("f1", len(BIG), 7, 30 * CHUNK, None) == BIG[7 : 7 + 30 * CHUNK]
            nursery.cancel_scope.cancel()


@dataclass
class Shared:
    """A source that some machines share: it keeps every file that passed through it as a whole."""

    behind: Service
    kept: dict[str, bytes] = field(default_factory=dict)

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AsyncIterator[Body]:
        if file_id in self.kept:
            own = Service({file_id: self.kept[file_id]})
            async with own.download(file_id, offset=offset, length=length, priority=priority) as reply:
                yield reply
            return
        async with self.behind.download(file_id, offset=offset, length=length, priority=priority) as reply:
            is_whole = reply.offset == 0 and length is None
            yield replace(reply, pieces=self._keeping(file_id, reply)) if is_whole else reply

    async def _keeping(self, file_id: str, reply: Body) -> AsyncIterator[bytes]:
        pieces = []
        async for piece in reply:
            pieces.append(piece)
            yield piece
        self.kept[file_id] = b"".join(pieces)


async def test_what_a_tier_nearer_than_the_service_has_is_not_asked_of_the_service(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    shared = Shared(service)
    for machine in ("one", "other"):
        async with running(tmp_path / machine, service, source=shared) as bench:
            assert await read_through(bench, len(BIG)) == BIG
            assert bench.content.has_all("f1")

    assert shared.kept == {"f1": BIG}
    assert len(service.requests) == 1


async def test_what_a_tier_hands_out_is_held_to_the_listed_length(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service, source=Shared(service, {"f1": BIG + b"more"})) as bench:
        with pytest.raises(LengthDiffers):
            await bench.read(0, CHUNK)


async def test_a_file_as_large_as_no_disk_is_not_asked_for_as_a_whole(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A listing may claim any size. To name each chunk of 16 TiB took all memory."""
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        with pytest.raises(OutOfSpace):
            await bench.downloader.fetch_all("f1", 1 << 44)
        assert service.requests == []


async def test_a_damaged_chunk_is_fetched_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        bench.damage(at=77 * CHUNK)
        assert await bench.read(0, len(BIG)) == BIG
        assert [(r.offset, r.length) for r in service.requests] == [(0, None), (77 * CHUNK, CHUNK)]


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_damaged_first_chunk_does_not_fetch_the_file_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, ranges: bool
) -> None:
    service = Service({"f1": BIG}, ranges=ranges)
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        bench.damage()
        assert await bench.read(0, len(BIG)) == BIG
        assert service.bytes_sent < len(BIG) + 3 * CHUNK


async def test_damage_of_the_only_copy_reaches_the_reader(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        bench.content.pin("f1")
        bench.damage()
        with pytest.raises(CorruptionError):
            await bench.read(0, 10)


# -- whole files


async def test_all_of_a_file_is_fetched(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG, "empty": b""})
    async with running(tmp_path, service) as bench:
        await bench.read(200 * CHUNK, CHUNK)
        await bench.downloader.fetch_all("f1", len(BIG), priority=Priority.PREFETCH)
        path = bench.content.path_of("f1")
        assert path is not None
        assert path.read_bytes() == BIG
        assert service.bytes_sent == len(BIG) + CHUNK, "one chunk twice costs less than one request more"
        assert service.requests[-1].ticket.priority is Priority.PREFETCH
        await bench.downloader.fetch_all("f1", len(BIG))
        await bench.downloader.fetch_all("empty", 0)
        assert bench.content.has_all("empty")
    assert len(service.requests) == 2


async def test_a_prefetch_that_a_reader_waits_for_is_as_urgent_as_the_reader(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG}, latency_s=5, bytes_per_s=MIB)
    async with running(tmp_path, service) as bench, trio.open_nursery() as nursery:
        prefetch = partial(bench.downloader.fetch_all, "f1", len(BIG), priority=Priority.PREFETCH)
        nursery.start_soon(prefetch)
        await trio.testing.wait_all_tasks_blocked()
        [request] = service.requests
        assert request.ticket.priority is Priority.PREFETCH
        nursery.start_soon(bench.read, 0, CHUNK)
        await trio.testing.wait_all_tasks_blocked()
        assert request.ticket.priority is Priority.INTERACTIVE_READ


async def test_a_whole_file_that_the_disk_cannot_take_is_an_error(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        bench.space.f_bavail = 0
        with pytest.raises(OutOfSpace):
            await bench.downloader.fetch_all("f1", len(BIG))


async def test_nothing_is_read_past_the_end(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        assert await bench.read(len(BIG), 10) == b""
        assert await bench.read(len(BIG) + 5, 10) == b""
        assert await bench.read(len(BIG) - 3, 10) == BIG[-3:]
        assert await bench.downloader.read("f1", 0, 0, 10, None) == b""


# -- pure: cutting a body into chunks


@given(
    size=st.integers(1, 2000),
    chunk=st.integers(1, 300),
    offset=st.integers(0, 2000),
    pieces=st.lists(st.integers(1, 500), min_size=1, max_size=40),
    batch=st.integers(1, 5),
)
def test_a_body_in_any_pieces_gives_the_whole_chunks(
    size: int, chunk: int, offset: int, pieces: list[int], batch: int
) -> None:
    layout, data = Layout(size, chunk), body(size)
    offset = min(offset, size)
    assembler, at, got = Assembler(layout, offset), offset, []
    for length in pieces:
        assembler.feed(data[at : at + length])
        at = min(at + length, size)
        while len(assembler.ready) >= batch:
            got.append(assembler.take(assembler.ready.start + batch))
    if assembler.ready:
        got.append(assembler.take(assembler.ready.stop))
    assert assembler.position == at
    assert not assembler.is_past_end
    first = -(-offset // chunk)
    assert [index for run in got for index in run.chunks] == list(range(first, assembler.index))
    assert all(run.data == data[layout.start(run.chunks.start) : layout.start(run.chunks.stop)] for run in got)
    assert assembler.index == layout.count or layout.start(assembler.index + 1) > at
