"""The content store: what is put or adopted is read back or reported, never something else, over crashes and damage."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from remotefs.config import CacheConfig
from remotefs.data.content.chunks import Layout, Sums, checksum
from remotefs.data.content.index import ContentIndex, Entry
from remotefs.data.content.store import ContentStore
from remotefs.errors import CorruptionError, NotReadable, OutOfSpace, StateUnusable
from remotefs.store.disk import Disk
from remotefs.store.durability import Durability
from tests.failing import failing

CHUNK = 4096
MIB = 1 << 20


@dataclass
class Space:
    """A disk whose figures a test decides."""

    f_bavail: int = 10_000_000
    f_blocks: int = 10_000_000
    f_frsize: int = 1024


def log_of(folder: Path) -> Durability:
    log = folder / "log"
    log.touch()
    return Durability(log)


def make_store(
    folder: Path,
    space: Space | None = None,
    evictable_bytes: int | None = None,
    is_open: Callable[[str], bool] = lambda _: False,
) -> ContentStore:
    config = CacheConfig(
        chunk_bytes=CHUNK,
        evictable_bytes=evictable_bytes,
        reserve_bytes=MIB,
        reserve_fraction=0.0,
        evictable_fraction=0.5,
    )
    figures = space or Space()
    disk = Disk(folder, config, statvfs=lambda _: figures)
    return ContentStore(folder / "content", config, disk, log_of(folder), is_open)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ContentStore]:
    made = make_store(tmp_path)
    yield made
    made.close()


def test_a_file_that_cannot_be_closed_as_it_should_fails_nobody(
    store: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls out of the open files while another one is read."""
    with failing(monkeypatch, "utime", errno.EIO):
        for number in range(400):
            store.put(f"file_{number}", 3, 0, b"abc")
        assert [store.read(f"file_{number}", 0, 3) for number in range(400)] == [b"abc"] * 400


def test_what_could_not_be_looked_for_is_not_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There were no descriptors for a moment when the folder was read for the first time."""
    before = make_store(tmp_path)
    before.put("file_a", 3, 0, b"abc")
    before.close()
    store = make_store(tmp_path)
    with failing(monkeypatch, "scandir", errno.EMFILE), pytest.raises(StateUnusable, match="Too many open files"):
        store.has_all("file_a")
    assert store.has_all("file_a")
    assert store.read("file_a", 0, 3) == b"abc"
    store.close()


@contextmanager
def other_disk(point: Path) -> Iterator[Path]:
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


def body(size: int, seed: int = 1) -> bytes:
    return b"".join((i * 2654435761 + seed).to_bytes(8, "little") for i in range(size // 8 + 1))[:size]


def fill(store: ContentStore, file_id: str, data: bytes) -> None:
    for start in range(0, len(data), CHUNK):
        store.put(file_id, len(data), start, data[start : start + CHUNK])


def staged(folder: Path, data: bytes) -> Path:
    path = folder / "7-1"
    path.write_bytes(data)
    return path


def data_path(store: ContentStore, file_id: str) -> Path:
    path = store.path_of(file_id)
    assert path is not None
    return path


def damage(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        old = file.read(1)
        file.seek(at)
        file.write(bytes([old[0] ^ 0xFF]))


# -- pure: layout and sums


@given(
    size=st.integers(0, 10_000), chunk=st.integers(1, 700), offset=st.integers(0, 11_000), length=st.integers(0, 9_000)
)
def test_the_chunks_of_a_range_cover_it_and_no_more(size: int, chunk: int, offset: int, length: int) -> None:
    layout = Layout(size, chunk)
    assert sum(layout.length(i) for i in range(layout.count)) == size
    chunks = layout.touching(offset, length)
    wanted = range(offset, min(offset + length, size))
    if not wanted:
        assert len(chunks) == 0
    else:
        assert layout.start(chunks.start) <= wanted.start < layout.start(chunks.start + 1)
        assert layout.start(chunks.stop - 1) < wanted.stop <= layout.start(chunks.stop)


def absent(sums: Sums) -> list[int]:
    found, index = [], sums.next_absent(0)
    while index < sums.layout.count:
        found.append(index)
        index = sums.next_absent(index + 1)
    return found


@given(size=st.integers(0, 200), changes=st.lists(st.tuples(st.integers(0, 19), st.booleans())))
def test_sums_know_what_is_absent(size: int, changes: list[tuple[int, bool]]) -> None:
    sums, model = Sums(Layout(size, 10)), set(range(Layout(size, 10).count))
    for index, present in changes:
        if index < sums.layout.count:
            sums.set(index, 77 if present else 0)
            model = model - {index} if present else model | {index}
    assert absent(sums) == sorted(model)
    assert sums.is_complete == (not model)
    again = Sums.decode(sums.encode())
    assert absent(again) == sorted(model)
    assert again.layout == sums.layout


@given(data=st.binary(max_size=300), flip=st.integers(0))
def test_a_damaged_header_of_sums_is_noticed(data: bytes, flip: int) -> None:
    sums = Sums(Layout(len(data), 64))
    for index in range(sums.layout.count):
        sums.set(index, checksum(data[index * 64 : index * 64 + 64]))
    encoded = bytearray(sums.encode())
    encoded[flip % 48] ^= 1
    with pytest.raises(ValueError, match="damaged|wrong"):
        Sums.decode(bytes(encoded))
    with pytest.raises(ValueError, match="damaged|wrong"):
        Sums.decode(bytes(sums.encode()[:-1]))


# -- evictable content


@given(
    size=st.integers(1, 5 * CHUNK),
    order=st.permutations(range(5)),
    reads=st.lists(st.tuples(st.integers(0, 5 * CHUNK), st.integers(1, 3 * CHUNK)), max_size=8),
)
def test_what_was_put_is_read_and_what_was_not_is_missing(
    tmp_path_factory: pytest.TempPathFactory, size: int, order: list[int], reads: list[tuple[int, int]]
) -> None:
    store = make_store(tmp_path_factory.mktemp("store"))
    data, layout, here = body(size), Layout(size, CHUNK), set()
    for index in order[:3]:
        if index < layout.count:
            store.put("f1", size, index * CHUNK, data[index * CHUNK : (index + 1) * CHUNK])
            here.add(index)
    for offset, length in reads:
        wanted = layout.touching(offset, length)
        found = store.read("f1", offset, length)
        if not here:
            assert found is None
        else:
            assert found == (data[offset : offset + length] if set(wanted) <= here else None)
    assert store.has_all("f1") == (here == set(range(layout.count)))
    store.close()


def test_an_unknown_id_is_a_miss(store: ContentStore) -> None:
    assert store.read("nothing", 0, 10) is None
    assert not store.has_all("nothing")
    assert not store.is_pinned("nothing")
    assert store.path_of("nothing") is None
    store.remove("nothing")


def test_content_survives_a_restart_with_what_is_missing(tmp_path: Path, store: ContentStore) -> None:
    data = body(3 * CHUNK)
    fill(store, "whole", data)
    store.put("part", len(data), CHUNK, data[CHUNK : 2 * CHUNK])
    store.close()
    again = make_store(tmp_path)
    assert again.read("whole", 0, len(data)) == data
    assert again.read("part", CHUNK, CHUNK) == data[CHUNK : 2 * CHUNK]
    assert again.read("part", 0, CHUNK) is None
    again.close()


def test_an_empty_file_is_complete_once_put(store: ContentStore) -> None:
    store.put("empty", 0, 0, b"")
    assert store.has_all("empty")
    assert store.read("empty", 0, 100) == b""


def test_an_id_listed_with_another_size_starts_anew(store: ContentStore) -> None:
    fill(store, "f1", body(2 * CHUNK))
    store.put("f1", 3 * CHUNK, 0, body(CHUNK, 9))
    assert store.read("f1", 0, CHUNK) == body(CHUNK, 9)
    assert store.read("f1", CHUNK, CHUNK) is None


def test_a_damaged_chunk_is_dropped_and_can_be_put_again(store: ContentStore) -> None:
    data = body(3 * CHUNK)
    fill(store, "f1", data)
    damage(data_path(store, "f1"), CHUNK + 5)
    assert store.read("f1", CHUNK, 10) is None
    assert store.read("f1", 0, CHUNK) == data[:CHUNK]
    assert store.next_missing("f1", Layout(3 * CHUNK, CHUNK), 0) == 1
    fill(store, "f1", data)
    assert store.read("f1", 0, len(data)) == data
    assert store.statistics().damaged == ()


@pytest.mark.parametrize("which", ["bytes cut", "bytes gone", "sums cut", "sums garbled"])
def test_evictable_content_spoiled_between_mounts_is_a_miss(tmp_path: Path, store: ContentStore, which: str) -> None:
    data = body(2 * CHUNK)
    fill(store, "f1", data)
    path = data_path(store, "f1")
    store.close()
    spoil(path, path.with_name("f1.cached"), which)
    again = make_store(tmp_path)
    assert again.read("f1", 0, len(data)) is None
    fill(again, "f1", data)
    assert again.read("f1", 0, len(data)) == data
    again.close()


def spoil(path: Path, sidecar: Path, which: str) -> None:
    match which:
        case "bytes cut":
            os.truncate(path, 100)
        case "bytes gone":
            path.unlink()
        case "sums cut":
            os.truncate(sidecar, 60)
        case "sums garbled":
            damage(sidecar, 20)


def test_state_is_private(tmp_path: Path, store: ContentStore) -> None:
    fill(store, "f1", body(10))
    for path in [tmp_path / "content", *(tmp_path / "content").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("file_id", ["../x", "a/b", "", "a.pinned", "x" * 201])
def test_no_id_leads_out_of_the_folder(store: ContentStore, file_id: str) -> None:
    with pytest.raises(AssertionError):
        store.read(file_id, 0, 1)


# -- adoption


async def test_a_staged_file_becomes_the_content(tmp_path: Path, store: ContentStore) -> None:
    data = body(2 * CHUNK + 17)
    path = staged(tmp_path, data)
    inode = path.stat().st_ino
    await store.adopt("own", path, len(data), pinned=True, digest=xxhash.xxh3_128(data).hexdigest())
    assert not path.exists()
    assert data_path(store, "own").stat().st_ino == inode
    assert store.has_all("own")
    assert store.is_pinned("own")
    assert store.read("own", 5, len(data)) == data[5:]
    sums = Sums.decode(data_path(store, "own").with_name("own.pinned").read_bytes())
    assert sums.digest == xxhash.xxh3_128(data).hexdigest()
    assert store.statistics().pinned_bytes == len(data)


async def test_an_empty_staged_file_is_adopted(tmp_path: Path, store: ContentStore) -> None:
    await store.adopt("own", staged(tmp_path, b""), 0, pinned=True)
    assert store.has_all("own")
    assert store.read("own", 0, 1) == b""


@pytest.mark.parametrize(("size", "digest"), [(9, None), (11, None), (10, "00" * 16)])
async def test_other_bytes_than_were_uploaded_are_not_adopted(
    tmp_path: Path, store: ContentStore, size: int, digest: str | None
) -> None:
    path = staged(tmp_path, body(10))
    with pytest.raises(CorruptionError):
        await store.adopt("own", path, size, pinned=True, digest=digest)
    assert path.read_bytes() == body(10)
    assert not store.has_all("own")


async def test_adoption_takes_the_place_of_a_part_that_was_fetched(tmp_path: Path, store: ContentStore) -> None:
    data = body(3 * CHUNK)
    store.put("f1", len(data), 0, data[:CHUNK])
    await store.adopt("f1", staged(tmp_path, data), len(data), pinned=True)
    assert store.read("f1", 0, len(data)) == data
    figures = store.statistics()
    assert (figures.evictable_files, figures.evictable_bytes, figures.pinned_bytes) == (0, 0, len(data))


async def test_adopting_again_never_unpins(tmp_path: Path, store: ContentStore) -> None:
    await store.adopt("own", staged(tmp_path, b"x"), 1, pinned=True)
    await store.adopt("own", staged(tmp_path, b"x"), 1, pinned=False)
    assert store.is_pinned("own")


async def test_evictable_bytes_can_be_adopted(tmp_path: Path, store: ContentStore) -> None:
    await store.adopt("f1", staged(tmp_path, b"abc"), 3, pinned=False)
    assert not store.is_pinned("f1")
    store.close()
    again = make_store(tmp_path)
    assert again.read("f1", 0, 3) == b"abc"
    assert again.statistics().evictable_files == 1


_STEPS = ("open", "os.mkdir", "os.rename", "os.remove")


def crash_at(step: int, work: Callable[[], Awaitable[None]]) -> bool:
    """Carry work out in a child that dies before its n-th change of a folder or opening of a file; whether it did.

    Python tells of each such call by an audit event, in whichever thread.
    """
    child = os.fork()
    if child == 0:
        left = step

        def die_in_time(event: str, _: object) -> None:
            nonlocal left
            left -= event in _STEPS
            if left < 0:
                os._exit(3)

        sys.addaudithook(die_in_time)
        trio.run(work)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3


def test_a_crash_at_any_step_of_adoption_loses_nothing(tmp_path: Path) -> None:
    data = body(CHUNK + 1)
    died = True
    step = 0
    while died:
        folder = tmp_path / str(step)
        folder.mkdir()
        path = staged(folder, data)
        before = make_store(folder)
        before.put("own", len(data), 0, data[:CHUNK])  # part of it had been fetched
        before.close()
        died = crash_at(step, partial(make_store(folder).adopt, "own", path, len(data), pinned=True))
        store = make_store(folder)
        assert path.exists() or store.has_all("own"), "the bytes are somewhere"
        trio.run(partial(store.adopt, "own", path, len(data), pinned=True))
        assert store.read("own", 0, len(data)) == data
        assert store.is_pinned("own")
        assert store.statistics().damaged == ()
        assert sorted(p.name for p in (folder / "content").rglob("own*")) == ["own", "own.pinned"]
        store.close()
        step += 1
    assert step > 6, "it was stopped at several steps"


@pytest.mark.root("mounts of small disks")
async def test_a_failed_adoption_does_not_spoil_what_is_fetched_later(tmp_path: Path) -> None:
    data = body(3 * CHUNK)
    with other_disk(tmp_path / "elsewhere") as other:  # a rename from there fails
        store = make_store(tmp_path)
        path = staged(other, data)
        with pytest.raises(StateUnusable):
            await store.adopt("own", path, len(data), pinned=True)
        with pytest.raises(StateUnusable):
            await store.adopt("own", tmp_path / "no-such-file", len(data), pinned=True)
        assert path.read_bytes() == data
    store.put("own", len(data), 0, data[:CHUNK])
    store.close()
    again = make_store(tmp_path)
    assert again.read("own", 0, CHUNK) == data[:CHUNK]
    assert again.read("own", CHUNK, CHUNK) is None
    assert not again.is_pinned("own")
    again.close()


async def test_a_cancelled_adoption_can_be_done_again(tmp_path: Path, store: ContentStore) -> None:
    data = body(CHUNK)
    path = staged(tmp_path, data)
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.adopt("own", path, len(data), pinned=True)
    assert path.exists()
    await store.adopt("own", path, len(data), pinned=True)
    assert store.read("own", 0, CHUNK) == data


async def test_nothing_is_put_while_an_adoption_replaces_it(tmp_path: Path, store: ContentStore) -> None:
    data = body(300 * CHUNK)
    path = staged(tmp_path, data)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: store.adopt("own", path, len(data), pinned=True))
        while path.exists():
            with contextlib.suppress(OutOfSpace):
                store.put("own", len(data), 0, data[:CHUNK])
            await trio.lowlevel.checkpoint()
    store.close()
    again = make_store(tmp_path)
    assert again.read("own", 0, len(data)) == data


# -- pinned content


async def test_damage_of_the_only_copy_is_an_error_and_shown(tmp_path: Path, store: ContentStore) -> None:
    data = body(3 * CHUNK)
    await store.adopt("own", staged(tmp_path, data), len(data), pinned=True)
    damage(data_path(store, "own"), CHUNK)
    with pytest.raises(CorruptionError, match="own"):
        store.read("own", CHUNK, 1)
    assert store.read("own", 0, CHUNK) == data[:CHUNK], "what is sound can be read"
    assert store.statistics().damaged == ("own",)


@pytest.mark.parametrize("which", ["bytes cut", "sums cut", "sums garbled"])
async def test_pinned_content_spoiled_between_mounts_is_an_error(
    tmp_path: Path, store: ContentStore, which: str
) -> None:
    data = body(2 * CHUNK)
    await store.adopt("own", staged(tmp_path, data), len(data), pinned=True)
    path = data_path(store, "own")
    store.close()
    spoil(path, path.with_name("own.pinned"), which)
    again = make_store(tmp_path)
    with pytest.raises(CorruptionError, match="own"):
        again.read("own", 0, 1)
    assert again.statistics().damaged == ("own",)
    assert path.exists(), "what is left of the only copy stays"


async def test_lost_pinned_content_is_shown(tmp_path: Path, store: ContentStore) -> None:
    await store.adopt("own", staged(tmp_path, b"x"), 1, pinned=True)
    path = data_path(store, "own")
    store.close()
    path.unlink()
    again = make_store(tmp_path)
    assert not again.has_all("own")
    await again.scan()
    assert again.statistics().damaged == ("own",)


async def test_bytes_without_sums_are_kept_and_shown(tmp_path: Path, store: ContentStore) -> None:
    await store.adopt("own", staged(tmp_path, b"x"), 1, pinned=True)
    path = data_path(store, "own")
    store.close()
    path.with_name("own.pinned").unlink()
    again = make_store(tmp_path)
    await again.scan()
    assert again.statistics().orphans == ("own",)
    assert again.read("own", 0, 1) is None
    again.reclaim(1 << 40)
    assert path.read_bytes() == b"x"


def test_pinning_survives_a_restart_and_ends(tmp_path: Path, store: ContentStore) -> None:
    data = body(CHUNK)
    fill(store, "f1", data)
    store.pin("f1")
    store.reclaim(1 << 40)
    store.close()
    again = make_store(tmp_path)
    assert again.is_pinned("f1")
    again.unpin("f1")
    assert again.read("f1", 0, CHUNK) == data
    again.reclaim(1 << 40)
    assert again.read("f1", 0, CHUNK) is None


def test_part_of_a_file_cannot_be_pinned(store: ContentStore) -> None:
    store.put("f1", 2 * CHUNK, 0, body(CHUNK))
    with pytest.raises(NotReadable):
        store.pin("f1")


async def test_verify_finds_damage(tmp_path: Path, store: ContentStore) -> None:
    data = body(4 * CHUNK)
    fill(store, "f1", data)
    await store.adopt("own", staged(tmp_path, data), len(data), pinned=True)
    assert await store.verify("f1")
    assert await store.verify("own")
    assert not await store.verify("unknown")
    damage(data_path(store, "f1"), 3 * CHUNK)
    damage(data_path(store, "own"), 3 * CHUNK)
    assert not await store.verify("f1")
    assert store.next_missing("f1", Layout(4 * CHUNK, CHUNK), 0) == 3
    with pytest.raises(CorruptionError):
        await store.verify("own")


# -- room


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = make_store(tmp_path, evictable_bytes=3 * 8 * MIB)
    data = body(8 * MIB)
    for file_id in "abc":
        fill(store, file_id, data)
    assert store.read("a", 0, 1) is not None
    fill(store, "d", data[: 8 * CHUNK])
    assert store.read("b", 0, 1) is None
    assert store.read("a", 0, 1) is not None
    assert store.statistics().evictable_bytes <= 3 * 8 * MIB
    store.close()


def test_the_order_of_use_survives_a_restart(tmp_path: Path, store: ContentStore) -> None:
    for file_id in "abc":
        fill(store, file_id, body(CHUNK))
    store.read("a", 0, 1)
    store.close()
    again = make_store(tmp_path, evictable_bytes=3 * CHUNK)
    trio.run(again.scan)
    assert again.statistics().is_scanned
    with again.hold("b"):  # the oldest is in use, so the next oldest goes
        again.put("d", CHUNK, 0, body(CHUNK))
        assert again.read("b", 0, 1) is not None
    again.close()


def test_what_comes_and_goes_does_not_pile_up_and_the_order_of_the_rest_stays(tmp_path: Path) -> None:
    index = ContentIndex(tmp_path)
    for number in range(1000):
        index.enter(f"stays{number}", Entry(pinned=number % 2 == 0, stored=1, used=2 * number))
        for each in range(10):
            index.enter(f"goes{number}-{each}", Entry(pinned=False, stored=1, used=2 * number + 1))
            index.leave(f"goes{number}-{each}")
        # What comes a second time, used later than before.
        index.enter("again", Entry(pinned=False, stored=1, used=3 * number))
    assert len(index._by_age) <= 2 * 1001 + 64
    index.leave("again")
    order = []
    while victim := index.next_victim(()):
        order.append(victim)
        index.leave(victim)
    assert order == [f"stays{number}" for number in range(1, 1000, 2)]


def test_what_is_open_is_not_evicted(tmp_path: Path) -> None:
    handles = {"open"}
    store = make_store(tmp_path, evictable_bytes=2 * CHUNK, is_open=handles.__contains__)
    for file_id in ("open", "closed", "new"):
        fill(store, file_id, body(CHUNK))
    assert store.read("open", 0, 1) is not None
    assert store.read("closed", 0, 1) is None
    handles.clear()
    fill(store, "newer", body(CHUNK))
    store.reclaim(1 << 40)
    assert store.read("open", 0, 1) is None
    store.close()


def test_pinned_and_held_content_never_goes(tmp_path: Path, store: ContentStore) -> None:
    for file_id in ("pinned", "held", "free"):
        fill(store, file_id, body(CHUNK))
    store.pin("pinned")
    with store.hold("held"):
        store.reclaim(1 << 40)
        assert store.read("held", 0, 1) is not None
    assert store.read("pinned", 0, 1) is not None
    assert store.read("free", 0, 1) is None
    store.reclaim(1 << 40)
    assert store.read("held", 0, 1) is None


def test_a_full_disk_gives_up_what_can_be_fetched_again(tmp_path: Path) -> None:
    space = Space()
    store = make_store(tmp_path, space)
    fill(store, "old", body(2 * CHUNK))
    space.f_bavail = 1
    with pytest.raises(OutOfSpace):
        store.put("new", CHUNK, 0, body(CHUNK))
    assert store.read("old", 0, 1) is None
    assert store.read("new", 0, 1) is None
    space.f_bavail = space.f_blocks
    store.put("new", CHUNK, 0, body(CHUNK))
    assert store.read("new", 0, 1) is not None
    store.close()


def test_a_file_larger_than_the_limit_is_kept_in_part(tmp_path: Path) -> None:
    store = make_store(tmp_path, evictable_bytes=2 * CHUNK)
    data = body(3 * CHUNK)
    with pytest.raises(OutOfSpace):
        fill(store, "f1", data)
    assert store.read("f1", 0, 2 * CHUNK) == data[: 2 * CHUNK]
    store.close()


def test_a_size_that_cannot_be_is_refused(store: ContentStore) -> None:
    with pytest.raises(OutOfSpace):
        store.put("f1", 1 << 60, 0, body(CHUNK))


def test_many_files_do_not_exhaust_descriptors(store: ContentStore) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(400):
        store.put(f"f{number}", 3, 0, b"abc")
    assert len(os.listdir("/proc/self/fd")) - before <= 2 * 128
    assert all(store.read(f"f{number}", 0, 3) == b"abc" for number in range(400))
