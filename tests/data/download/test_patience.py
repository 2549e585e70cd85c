"""How long a reader waits for a service that sends nothing, and what its waiting teaches (R7)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from remotefs.api.budget import Priority
from remotefs.api.connectivity import Connectivity
from remotefs.data.download.patience import TURN_S, Patience
from remotefs.data.download.readahead import ReadWindow
from remotefs.data.download.source import ServiceSource
from remotefs.data.download.transfer import MAX_STREAMS
from remotefs.errors import DeadlineExceeded, LengthDiffers, NotAsked, RemotefsError, SilentService, Unreachable
from tests.data.download.scene import BIG, CHUNK, MIB, READ, Bench, Service, running

Clock = trio.testing.MockClock
WAIT_S = 10.0


@asynccontextmanager
async def waiting(
    folder: Path, service: Service, connectivity: Connectivity | None = None, chunk: int = CHUNK
) -> AsyncIterator[Bench]:
    """A reader's side that waits as it does by default, over a link that is up."""
    link = connectivity or Connectivity()
    link.up()
    service.on_heard = link.heard
    source = ServiceSource(service, link)
    async with running(folder, service, chunk=chunk, source=source, patience=Patience(WAIT_S, link)) as bench:
        yield bench


async def timed(act: Callable[[], object], error: type[RemotefsError] | None = None) -> float:
    """Seconds until it ended, with that very error."""
    began = trio.current_time()
    if error is None:
        await act()
    else:
        with pytest.raises(error) as caught:
            await act()
        assert caught.type is error
    return trio.current_time() - began


async def test_a_reader_waits_so_long_the_next_not_at_all_and_what_came_late_is_there(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    service = Service({"f1": BIG}, latency_s=15)
    async with waiting(tmp_path, service) as bench:
        assert await timed(lambda: bench.read(0, READ, ReadWindow()), DeadlineExceeded) == WAIT_S
        assert await timed(lambda: bench.read(0, READ, ReadWindow()), SilentService) == 0
        assert await timed(lambda: bench.read(300 * CHUNK, READ, ReadWindow()), SilentService) == 0
        await trio.sleep(6)
        assert await bench.read(0, READ, ReadWindow()) == BIG[:READ]
    assert len(service.requests) == 1


@pytest.mark.parametrize("read_all", [False, True])
async def test_a_body_that_stops_ends_the_wait_of_its_reader(
    tmp_path: Path, autojump_clock: Clock, read_all: bool
) -> None:
    service = Service({"f1": BIG}, bytes_per_s=10 * CHUNK, stalls={0: 50 * CHUNK})
    async with waiting(tmp_path, service) as bench:
        whole = len(BIG) if read_all else 60 * CHUNK
        took = await timed(lambda: bench.read(0, whole), DeadlineExceeded)
        assert took == pytest.approx(5 + WAIT_S, abs=1)
        assert await timed(lambda: bench.read(0, whole), SilentService) == 0
        assert await bench.read(10 * CHUNK, CHUNK) == BIG[10 * CHUNK : 11 * CHUNK], "what is here reads on"
        service.go.set()
        await trio.sleep(1)
        assert await bench.read(0, whole) == BIG[:whole]
    assert len(service.requests) == 1


async def test_a_slow_connection_that_makes_progress_is_not_cut(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, piece=CHUNK, bytes_per_s=CHUNK / 9)
    async with waiting(tmp_path, service) as bench:
        assert await bench.read(0, 40 * CHUNK) == BIG[: 40 * CHUNK]
        assert trio.current_time() > 300


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_body_that_drips_is_replaced_by_another_request(
    tmp_path: Path, autojump_clock: Clock, ranges: bool
) -> None:
    """The second time that a reader waits for it in vain, with no chunk between, the next one asks anew."""
    service = Service({"f1": BIG}, ranges=ranges, drips={0: 30.0})
    async with waiting(tmp_path, service) as bench:
        for _ in range(2):
            assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == WAIT_S
            assert await timed(lambda: bench.read(0, READ), SilentService) == 0
            assert len(service.requests) == 1
            await trio.sleep(21)
        assert await timed(lambda: bench.read(0, READ)) < 1
        await trio.sleep(1)
        assert service.requests[0].closed, "the other one has taken its place"
        assert await bench.read(0, READ) == BIG[:READ]
    assert len(service.requests) == 2


async def test_a_service_that_drips_always_gets_few_requests(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, drips=dict.fromkeys(range(1000), 30.0))
    async with waiting(tmp_path, service) as bench:
        for _ in range(100):
            with pytest.raises(DeadlineExceeded):
                await bench.read(0, READ)
            await trio.sleep(6)
        spent_s = trio.current_time()
    assert len(service.requests) <= spent_s / (2 * WAIT_S) + 1


async def test_a_body_that_only_faltered_is_waited_for_again(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, bytes_per_s=10 * CHUNK, stalls={0: CHUNK // 2})
    async with waiting(tmp_path, service) as bench:
        await timed(lambda: bench.read(0, READ), DeadlineExceeded)
        service.go.set()
        await trio.sleep(0.05)
        assert await bench.read(0, READ) == BIG[:READ]
    assert len(service.requests) == 1


async def test_each_reader_has_its_own_time(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, latency_s=15)
    async with waiting(tmp_path, service) as bench, trio.open_nursery() as nursery:

        async def first() -> None:
            assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == WAIT_S

        nursery.start_soon(first)
        await trio.sleep(6)
        service.on_heard()  # another file's reader was answered
        assert await timed(lambda: bench.read(0, READ)) == 9


@pytest.mark.parametrize("time", range(6))
async def test_what_happens_in_the_very_moment_does_not_matter(
    tmp_path: Path, autojump_clock: Clock, time: int
) -> None:
    """Readers are woken by another reply just as one of them gives up; which comes first is trio's choice."""
    service = Service({"f1": BIG}, latencies={1: math.inf, 2: WAIT_S - 1})
    async with waiting(tmp_path, service) as bench:
        await bench.read(100 * CHUNK, CHUNK)  # ranges are known then
        async with trio.open_nursery() as nursery:
            nursery.start_soon(timed, lambda: bench.read(0, CHUNK), DeadlineExceeded)
            await trio.sleep(1)
            nursery.start_soon(timed, lambda: bench.read(300 * CHUNK, CHUNK))
    assert len(service.requests) == 3


# -- waiting for its turn


async def test_waiting_for_the_request_limit_is_no_hang(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({"f1": BIG}, held_s=TURN_S - 1, latency_s=WAIT_S - 1), Connectivity()
    async with waiting(tmp_path, service, link) as bench:
        assert await bench.read(0, READ) == BIG[:READ]
        assert link.is_up


async def test_it_has_an_end_too_and_says_nothing_about_the_service(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({"f1": BIG}, held_s=TURN_S + 5), Connectivity()
    async with waiting(tmp_path, service, link) as bench:
        assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == TURN_S
        assert link.is_up
        assert await timed(lambda: bench.read(0, READ)) == pytest.approx(5)
    assert len(service.requests) == 1


async def test_after_its_turn_the_service_has_all_its_time(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, held_s=50, latency_s=math.inf)
    async with waiting(tmp_path, service) as bench:
        assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == pytest.approx(50 + WAIT_S)


async def test_streams_that_send_nothing_make_way(tmp_path: Path, autojump_clock: Clock) -> None:
    files = {f"f{n}": BIG for n in range(MAX_STREAMS + 1)}
    service, link = Service(files, latencies=dict.fromkeys(range(MAX_STREAMS), math.inf)), Connectivity()
    async with waiting(tmp_path, service, link) as bench, trio.open_nursery() as nursery:

        async def hanging(file_id: str) -> None:
            with pytest.raises(DeadlineExceeded):
                await bench.read(0, READ, None, file_id)

        for file_id in list(files)[:MAX_STREAMS]:
            nursery.start_soon(hanging, file_id)
        await trio.sleep(5)
        link.heard()  # something else is answered: it is not out of reach
        assert await timed(lambda: bench.read(0, READ, None, f"f{MAX_STREAMS}")) == pytest.approx(WAIT_S - 5)


async def test_more_readers_than_streams_take_turns(tmp_path: Path, autojump_clock: Clock) -> None:
    """None has to wait until the others have read all of a large file."""
    large = bytes(40 * MIB)
    service = Service({f"f{n}": large for n in range(MAX_STREAMS + 1)}, piece=MIB, bytes_per_s=MIB / 2)

    async def read_on(bench: Bench, file_id: str) -> None:
        window = ReadWindow()
        for offset in range(0, len(large), MIB):
            await bench.read(offset, MIB, window, file_id)

    async with waiting(tmp_path, service, chunk=MIB) as bench, trio.open_nursery() as nursery:
        bench.space.f_bavail = 0  # it is not the disk that is tried
        for n in range(MAX_STREAMS):
            nursery.start_soon(read_on, bench, f"f{n}")
        await bench.read(0, 1, None, "f0")
        assert await timed(lambda: bench.read(0, MIB, None, f"f{MAX_STREAMS}")) < TURN_S
        nursery.cancel_scope.cancel()


# -- out of reach


async def test_where_nothing_answers_all_are_answered_at_once(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({f"f{n}": BIG for n in range(9)}, latency_s=math.inf), Connectivity()
    took: list[float] = []

    async def reader(bench: Bench, file_id: str) -> None:
        began = trio.current_time()
        with pytest.raises(DeadlineExceeded):
            await bench.read(0, READ, None, file_id)
        took.append(trio.current_time() - began)

    async with waiting(tmp_path, service, link) as bench:
        async with trio.open_nursery() as nursery:
            for n in range(5):
                nursery.start_soon(reader, bench, f"f{n}")
                await trio.sleep(1)
        assert sorted(took) == [WAIT_S - n for n in (4, 3, 2, 1, 0)], "also those that came later"
        assert isinstance(link.lost, DeadlineExceeded)
        assert len(service.requests) == 5
        for n in (5, 6, 7):
            assert await timed(lambda n=n: bench.read(0, READ, None, f"f{n}"), SilentService) == 0
        bench.downloader.prefetch("f8", len(BIG))
        await trio.testing.wait_all_tasks_blocked()
        assert len(service.requests) == 5, "nobody asks for what nobody waits for"


async def test_where_others_are_answered_it_is_that_file_alone(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({"f1": BIG, "f2": BIG}, latencies={0: math.inf}), Connectivity()
    async with waiting(tmp_path, service, link) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(_hear_once, link, 3.0)
        assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == WAIT_S
        assert link.is_up
        assert await bench.read(0, READ, None, "f2") == BIG[:READ]


async def test_many_files_that_hang_hold_up_a_reader_of_all_little_longer_than_one(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    """A file browser looks into each file of a folder, while the service lists but sends no contents."""
    service, link = Service({f"f{n}": BIG for n in range(1, 40)}, latency_s=math.inf), Connectivity()
    async with waiting(tmp_path, service, link) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(_keep_hearing, link)
        took = [await timed(lambda n=n: bench.read(0, READ, None, f"f{n}"), DeadlineExceeded) for n in range(1, 30)]
        assert took[:4] == [WAIT_S, WAIT_S / 4, WAIT_S / 16, WAIT_S / 64]
        assert sum(took) < 2 * WAIT_S
        assert link.is_up
        # A byte of any file, and all wait as usual.
        service.latency_s = 0
        assert await timed(lambda: bench.read(0, READ, None, "f30")) == 0
        service.latency_s = math.inf
        again = await timed(lambda: bench.read(0, READ, None, "f31"), DeadlineExceeded)
        assert again == pytest.approx(WAIT_S)
        nursery.cancel_scope.cancel()


async def test_a_wait_that_was_cut_short_does_not_end_a_file_that_has_begun_to_come(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    files, link = {"f1": BIG, "f2": BIG}, Connectivity()
    service = Service(files, latencies={0: math.inf, 1: 1}, piece=CHUNK)
    service.bytes_per_s = CHUNK / 9
    async with waiting(tmp_path, service, link) as bench, trio.open_nursery() as nursery:
        nursery.start_soon(_keep_hearing, link)
        await timed(lambda: bench.read(0, READ), DeadlineExceeded)
        assert await bench.read(0, 4 * CHUNK, None, "f2") == BIG[: 4 * CHUNK]
        nursery.cancel_scope.cancel()


async def test_once_the_service_is_heard_again_what_hung_is_asked_for_again(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    """A connection that died never answers; who comes then does not wait for its end."""
    service, link = Service({"f1": BIG}, latencies={0: math.inf}), Connectivity()
    async with waiting(tmp_path, service, link) as bench:
        assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == WAIT_S
        link.heard()
        await trio.testing.wait_all_tasks_blocked()
        assert await bench.read(0, READ) == BIG[:READ]
    assert len(service.requests) == 2


async def test_a_late_answer_after_that_is_still_of_use(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({"f1": BIG}, latencies={0: 25, 1: math.inf}), Connectivity()
    async with waiting(tmp_path, service, link) as bench:
        assert await timed(lambda: bench.read(0, READ), DeadlineExceeded) == WAIT_S
        link.heard()
        await trio.sleep(8)
        assert await timed(lambda: bench.read(0, READ)) == 7


async def test_no_connection_is_told_at_once_too(tmp_path: Path, autojump_clock: Clock) -> None:
    service, link = Service({"f1": BIG, "f2": BIG}, refusal=Unreachable("refused")), Connectivity()
    async with waiting(tmp_path, service, link) as bench:
        await timed(lambda: bench.read(0, READ), Unreachable)
        assert isinstance(link.lost, Unreachable)
        await timed(lambda: bench.read(0, READ), NotAsked)
        await timed(lambda: bench.read(0, READ, None, "f2"), NotAsked)
        assert len(service.requests) == 1
        service.refusal = None
        link.heard()
        assert await bench.read(0, READ) == BIG[:READ]


async def _keep_hearing(link: Connectivity) -> None:
    """Listings are answered."""
    while True:
        await trio.sleep(2)
        link.heard()


async def _hear_once(connectivity: Connectivity, after_s: float) -> None:
    await trio.sleep(after_s)
    connectivity.heard()


# -- whole files and lengths


async def test_a_write_that_needs_the_file_waits_no_longer_than_a_read(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, latency_s=15)
    async with waiting(tmp_path, service) as bench:
        whole = lambda: bench.downloader.fetch_all("f1", len(BIG))  # noqa: E731 - for three calls
        assert await timed(whole, DeadlineExceeded) == WAIT_S
        assert await timed(whole, SilentService) == 0
        await trio.sleep(6)
        await whole()
    assert len(service.requests) == 1


async def test_a_command_waits_for_as_long_as_the_request_does(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG}, held_s=2 * TURN_S, latency_s=3 * WAIT_S)
    async with waiting(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG), priority=Priority.PREFETCH)


async def test_an_open_that_has_to_know_the_length_waits_no_longer(tmp_path: Path, autojump_clock: Clock) -> None:
    service = Service({"f1": BIG, "empty": b"more"}, latency_s=15)
    async with waiting(tmp_path, service) as bench:
        opened = lambda: bench.downloader.verify_length("f1", len(BIG))  # noqa: E731 - for three calls
        assert await timed(opened, DeadlineExceeded) == WAIT_S
        assert await timed(opened, SilentService) == 0
        await trio.sleep(6)
        assert await opened()
        assert await timed(lambda: bench.downloader.verify_length("empty", 0), DeadlineExceeded) == WAIT_S
        service.latency_s, service.held_s = 9, 55
        service.on_heard()
        assert await timed(lambda: bench.downloader.verify_length("empty", 0), LengthDiffers) == 64
