"""What every store of objects does, on a folder, and by `make test-store` on S3 servers."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
import trio

from remotefs.errors import ObjectMissing, ObjectStoreError
from remotefs.objects.backend import PAGE_ENTRIES, PART_BYTES
from remotefs.objects.store import ObjectEntry, ObjectStore
from tests.objects.conftest import Place

MIB = 1 << 20
LARGE = PART_BYTES + MIB + 7
NO_CREATE = pytest.mark.beside("rclone", "it takes no notice of If-None-Match")
NO_RANGE = pytest.mark.beside("rclone", "it answers a range with 200, not 206")
# Signs, letters of others, and what an address or a listing could take for its own.
ODD_KEYS = [
    "ä/ö",
    "with blank/x y",
    "a+b",
    "a%20b",
    "a=b&c",
    "x#1",
    "q?a",
    "~t",
    "colon:x",
    "quote'\"x",
    "s*[x]{y}",
    "日本",
]


def pattern(size: int) -> bytes:
    """Bytes that differ from place to place."""
    return random.Random(size).randbytes(size)


async def put(store: ObjectStore, key: str, data: bytes) -> None:
    await store.put(key, lambda: [data[at : at + MIB] for at in range(0, len(data), MIB)], len(data))


async def keys_of(store: ObjectStore, prefix: str = "", after: str = "") -> list[str]:
    return [entry.key async for page in store.list(prefix, after=after) for entry in page]


@pytest.mark.parametrize("size", [0, 1, 1000, MIB, PART_BYTES, PART_BYTES + 1, 2 * LARGE])
async def test_another_machine_reads_what_was_put(place: Place, size: int) -> None:
    data = pattern(size)
    await put(place.open(), "c/aa/file_1", data)
    other = place.open()
    assert await other.get("c/aa/file_1") == data
    assert await other.size_of("c/aa/file_1") == size
    async with other.stream("c/aa/file_1") as pieces:
        assert b"".join([piece async for piece in pieces]) == data


async def test_pieces_are_of_a_size_that_memory_can_take(store: ObjectStore) -> None:
    await put(store, "x", pattern(LARGE))
    async with store.stream("x") as pieces:
        sizes = [len(piece) async for piece in pieces]
    assert max(sizes) <= 4 * MIB
    assert len(sizes) <= 2 * LARGE // MIB


async def test_a_put_replaces_an_object(store: ObjectStore) -> None:
    await put(store, "x", pattern(LARGE))
    await put(store, "x", b"short")
    assert await store.get("x") == b"short"
    assert await store.size_of("x") == 5


@NO_RANGE
@pytest.mark.parametrize(
    ("start", "length"), [(0, None), (0, 10), (3, 4), (9, 1), (4, None), (0, 1), (5, 0), (0, 0)]
)  # fmt: skip
async def test_a_range_has_its_bytes(store: ObjectStore, start: int, length: int | None) -> None:
    await put(store, "x", b"0123456789")
    await _check_range(store, "x", b"0123456789", start, length)


@NO_RANGE
@pytest.mark.parametrize(("start", "length"), [(0, 11), (3, 100), (9, 2), (10, None), (10, 1), (50, 5), (50, None)])
async def test_a_range_past_the_end_is_clipped(store: ObjectStore, start: int, length: int | None) -> None:
    await put(store, "x", b"0123456789")
    await _check_range(store, "x", b"0123456789", start, length)


@NO_RANGE
@pytest.mark.parametrize(("start", "length"), [(0, None), (0, 5), (1, 1), (7, None)])
async def test_an_empty_object_has_no_bytes_in_any_range(store: ObjectStore, start: int, length: int | None) -> None:
    await put(store, "x", b"")
    await _check_range(store, "x", b"", start, length)


async def _check_range(store: ObjectStore, key: str, data: bytes, start: int, length: int | None) -> None:
    wanted = data[start:] if length is None else data[start : start + length]
    assert await store.get(key, start=start, length=length) == wanted
    async with store.stream(key, start=start, length=length) as pieces:
        assert b"".join([piece async for piece in pieces]) == wanted


@NO_RANGE
async def test_ranges_of_a_large_object(store: ObjectStore) -> None:
    data = pattern(2 * LARGE)
    await put(store, "x", data)
    for start, length in [(PART_BYTES - 5, 10), (MIB + 1, 3 * MIB), (2 * LARGE - 3, None)]:
        await _check_range(store, "x", data, start, length)


async def test_what_is_absent_is_said_to_be(store: ObjectStore) -> None:
    await put(store, "c/x", b"1")
    for key in ("c/y", "c", "c/x/y", "y"):
        assert await store.size_of(key) is None
        for length in (None, 0, 5):
            with pytest.raises(ObjectMissing, match=key):
                await store.get(key, length=length)
            with pytest.raises(ObjectMissing):
                async with store.stream(key, length=length):
                    pass
        with pytest.raises(ObjectMissing):
            await store.copy(key, "z")
    assert await keys_of(store) == ["c/x"]


@pytest.mark.parametrize("size", [36, LARGE])
async def test_a_source_that_raises_leaves_nothing(store: ObjectStore, size: int) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(size // 2)
        raise OSError("the disk under the source")

    with pytest.raises(OSError, match="under the source") as caught:
        await store.put("c/x", broken, size)
    assert not isinstance(caught.value, ObjectStoreError)
    assert await store.size_of("c/x") is None
    assert await keys_of(store) == []


@pytest.mark.parametrize("size", [36, LARGE])
@pytest.mark.parametrize("difference", [-1, 1, 2 * MIB])
async def test_a_source_of_another_length_leaves_what_was_there(store: ObjectStore, size: int, difference: int) -> None:
    await put(store, "x", b"before")
    with pytest.raises(ObjectStoreError, match="bytes that were to be put"):
        await store.put("x", lambda: [bytes(size), bytes(difference)] if difference > 0 else [bytes(size - 1)], size)
    assert await store.get("x") == b"before"


@pytest.mark.parametrize("size", [20, 20 * MIB])
async def test_a_cancelled_put_ends_at_the_next_piece_and_leaves_nothing(store: ObjectStore, size: int) -> None:
    begun, may_go_on, read = trio.Event(), threading.Event(), []
    token = trio.lowlevel.current_trio_token()

    def slow() -> Iterator[bytes]:
        for number in range(20):
            if number == 5:
                token.run_sync_soon(begun.set)
                may_go_on.wait(20)
            read.append(number)
            yield bytes(size // 20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.put, "c/x", slow, size)
        await begun.wait()
        nursery.cancel_scope.cancel()
        may_go_on.set()
    assert len(read) < 20
    assert await store.size_of("c/x") is None
    assert store.limiter.borrowed_tokens == 0


async def test_at_most_two_large_objects_are_put_at_one_time(store: ObjectStore) -> None:
    pair, active, seen, lock = threading.Barrier(2), 0, [], threading.Lock()

    def counted() -> Iterator[bytes]:
        nonlocal active
        with lock:
            active += 1
            seen.append(active)
        pair.wait(30)
        for _ in range(9):
            yield bytes(MIB)
        pair.wait(30)
        with lock:
            active -= 1

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(store.put, f"c/{number}", counted, 9 * MIB)
    assert max(seen) == 2
    assert len(await keys_of(store)) == 6


@NO_CREATE
async def test_create_puts_only_where_nothing_is(store: ObjectStore) -> None:
    assert await store.create("l/1", b"first") is True
    assert await store.create("l/1", b"second") is False
    assert await store.get("l/1") == b"first"
    await put(store, "l/2", b"put")
    assert await store.create("l/2", b"created") is False
    await store.delete(["l/1"])
    assert await store.create("l/1", b"again") is True
    assert await store.create("l/empty", b"") is True


@NO_CREATE
async def test_one_of_many_that_create_wins_and_its_bytes_stay(place: Place) -> None:
    stores = [place.open() for _ in range(8)]
    for round_number in range(10):
        won = []

        async def create(number: int, key: str = f"l/{round_number:02}", won: list[int] = won) -> None:
            if await stores[number].create(key, b"%d" % number * 1000):
                won.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(create, number)
        [winner] = won
        assert await stores[0].get(f"l/{round_number:02}") == b"%d" % winner * 1000


async def test_delete_takes_what_is_there(store: ObjectStore) -> None:
    for key in ("c/1", "c/2", "d/3"):
        await put(store, key, b"1")
    await store.delete(["c/1", "c/absent", "absent/absent", "d/3"])
    assert await keys_of(store) == ["c/2"]
    await store.delete(["c/absent"])
    await store.delete([])
    assert await keys_of(store) == ["c/2"]


async def test_a_copy_has_the_bytes_and_stays(store: ObjectStore) -> None:
    data = pattern(LARGE)
    await put(store, "c/old", data)
    await put(store, "c/there", b"before")
    await store.copy("c/old", "d/new")
    await store.copy("c/old", "c/there")
    await store.delete(["c/old"])
    assert await store.get("d/new") == await store.get("c/there") == data


async def test_a_listing_has_pages_in_order(store: ObjectStore) -> None:
    names = [f"c/{number:02x}/file_{number}" for number in range(20)] + [f"l/{n:04}" for n in range(PAGE_ENTRIES + 5)]
    async with trio.open_nursery() as nursery:
        for key in names:
            nursery.start_soon(put, store, key, key.encode())
    pages = [page async for page in store.list("l")]
    assert [len(page) for page in pages] == [PAGE_ENTRIES, 5]
    assert await keys_of(store) == sorted(names)
    assert await keys_of(store, "c/") == sorted(names)[:20]
    assert await keys_of(store, "c/02") == ["c/02/file_2"]
    assert await keys_of(store, "l", after="l/0999") == [f"l/{n:04}" for n in range(1000, PAGE_ENTRIES + 5)]
    assert await keys_of(store, "", after="c/12/file_18") == ["c/13/file_19", *sorted(names)[20:]]
    assert await keys_of(store, "l", after="l/9999") == []
    await store.delete(names)
    assert await keys_of(store) == []


async def test_a_listing_tells_sizes_and_times_and_may_be_left_early(store: ObjectStore) -> None:
    await put(store, "c/x", b"12345")
    await put(store, "c/y", b"")
    async for page in store.list("c"):
        [one, other] = page
        break
    assert (one, other) == (ObjectEntry("c/x", 5, one.modified_ns), ObjectEntry("c/y", 0, other.modified_ns))
    assert abs(one.modified_ns - other.modified_ns) < 60_000_000_000
    assert one.modified_ns > 1_700_000_000_000_000_000


async def test_a_prefix_is_a_folder(store: ObjectStore) -> None:
    for key in ("l/1", "lm/1", "l1"):
        await put(store, key, b"")
    assert await keys_of(store, "l") == await keys_of(store, "l/") == ["l/1"]
    assert await keys_of(store, "nothing/here") == await keys_of(store, "l/1") == []


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_an_odd_key_is_the_same_everywhere(store: ObjectStore, key: str) -> None:
    await put(store, f"c/{key}", key.encode())
    assert await keys_of(store) == [f"c/{key}"]
    assert await store.get(f"c/{key}") == key.encode()
    await store.copy(f"c/{key}", f"d/{key}")
    await store.delete([f"c/{key}"])
    assert await keys_of(store) == [f"d/{key}"]


@pytest.mark.parametrize("key", ["", "/x", "a//b", "a/", "../x", "a/../b", ".", "a/./b", ".hidden", "a\0b", "a\nb"])
async def test_a_key_that_could_mean_another_place_is_refused(store: ObjectStore, key: str) -> None:
    for call in (
        lambda: put(store, key, b""), lambda: store.create(key, b""), lambda: store.get(key), lambda: store.size_of(key),
        lambda: store.delete([key]), lambda: store.copy(key, "x"), lambda: store.copy("x", key),
    ):  # fmt: skip
        with pytest.raises((ValueError, ObjectMissing)):
            await call()
    assert await keys_of(store) == []


async def test_a_stream_may_be_left_early_and_cancelled(store: ObjectStore) -> None:
    await put(store, "x", pattern(LARGE))
    for _ in range(60):
        async with store.stream("x") as pieces:
            async for _piece in pieces:
                break
    with trio.CancelScope() as scope:
        async with store.stream("x") as pieces:
            async for _piece in pieces:
                scope.cancel()
    assert scope.cancelled_caught
    assert await store.size_of("x") == LARGE


async def test_many_readers_and_writers_at_one_time(store: ObjectStore) -> None:
    async def both(number: int) -> None:
        data = b"%d" % number * 1000
        await put(store, f"c/{number}", data)
        assert await store.get(f"c/{number}") == data

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(both, number)
    assert len(await keys_of(store)) == 200
