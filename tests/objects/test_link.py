"""What goes to and from the store keeps to the limits of bandwidth, together with the service's bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from remotefs.api.bandwidth import Bandwidth
from remotefs.objects.link import Link
from remotefs.objects.store import ObjectStore

_RATE = 1_000_000
_DATA = bytes(range(250)) * 20_000
_FEW_S = 3.0


@pytest.fixture
async def link(autojump_clock: MockClock) -> Link:
    return Link(Bandwidth(_RATE), Bandwidth(_RATE))


@pytest.fixture
def store(tmp_path: Path, link: Link) -> ObjectStore:
    (tmp_path / "nas").mkdir()
    return ObjectStore.open(f"file://{tmp_path}/nas", link)


async def put(store: ObjectStore, key: str = "c/x", data: bytes = _DATA) -> None:
    await store.put(key, lambda: [data[:100], data[100:]], len(data))


@pytest.fixture
def took() -> Callable[[], float]:
    """Seconds since the last call."""
    times = [0.0]

    def since() -> float:
        times.append(trio.current_time())
        return times[-1] - times[-2]

    return since


async def test_both_directions_keep_to_their_rates(
    autojump_clock: MockClock, store: ObjectStore, link: Link, took: Callable[[], float]
) -> None:
    took()
    await put(store)
    assert 4.5 <= took() < 6
    assert await store.get("c/x") == _DATA
    assert 4.5 <= took() < 6
    async with store.stream("c/x", start=1_000_000) as pieces:
        assert b"".join([piece async for piece in pieces]) == _DATA[1_000_000:]
    assert 3.5 <= took() < 5
    await store.create("l/1", _DATA)
    await put(store, "c/y", b"")
    assert 4.0 <= took() < 6
    assert (link.sent_bytes, link.received_bytes) == (2 * len(_DATA), 2 * len(_DATA) - 1_000_000)


async def test_the_store_shares_the_rate_with_the_service(
    autojump_clock: MockClock, store: ObjectStore, link: Link, took: Callable[[], float]
) -> None:
    await put(store)
    service = Link(downloads=link._downloads)
    took()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.get, "c/x")
        for _ in range(20):
            await service.receive(_slice, had=_RATE, waiting=_nothing)
    assert took() > 5.5


async def _slice() -> bytes:
    return bytes(50_000)


@contextmanager
def _nothing() -> Iterator[None]:
    yield


async def test_the_wait_for_the_limit_is_marked(
    autojump_clock: MockClock, store: ObjectStore, took: Callable[[], float]
) -> None:
    await put(store)
    waited: list[float] = []

    @contextmanager
    def waiting() -> Iterator[None]:
        began = trio.current_time()
        yield
        waited.append(trio.current_time() - began)

    took()
    assert await store.get("c/x", waiting=waiting) == _DATA
    assert sum(waited) > 0.9 * took()


async def test_a_put_that_waits_for_the_limit_can_be_cancelled(
    autojump_clock: MockClock, store: ObjectStore, took: Callable[[], float]
) -> None:
    took()
    with trio.move_on_after(_FEW_S):
        await put(store)
    assert took() < _FEW_S + 1
    assert await store.size_of("c/x") is None


async def test_a_limit_that_is_set_meanwhile_holds_for_what_is_under_way(
    autojump_clock: MockClock, store: ObjectStore, link: Link, took: Callable[[], float]
) -> None:
    bandwidth = link._uploads
    assert isinstance(bandwidth, Bandwidth)
    took()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, store)
        await trio.sleep(1)
        bandwidth.set_rate(0)
    assert took() < _FEW_S
