"""Staged files, the disk they lie on, and its reserve."""

from __future__ import annotations

import errno
import gc
import logging
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from remotefs.config import CacheConfig
from remotefs.data.content.store import ContentStore
from remotefs.data.files.staging import Staging
from remotefs.errors import AlreadyExists, CorruptionError, NotFound, OutOfSpace, StateUnusable
from remotefs.store.disk import Disk, local_error
from remotefs.store.durability import Durability
from tests.failing import failing

MIB = 1 << 20
NO_RESERVE = CacheConfig(reserve_bytes=0, reserve_fraction=0.0)


@dataclass
class Space:
    """A disk whose figures a test decides."""

    f_bavail: int = 1000
    f_blocks: int = 1000
    f_frsize: int = 1024


def make_staging(folder: Path) -> Staging:
    return Staging(folder / "staging", Disk(folder, NO_RESERVE), Durability(folder / "log"))


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[Staging]:
    made = make_staging(tmp_path)
    yield made
    made.close()


@contextmanager
def small_disk(point: Path, size: int) -> Iterator[Path]:
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", "-l", point], check=True)


# -- staged files

_OPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 5000), st.binary(min_size=0, max_size=400)),
        st.tuples(st.just("truncate"), st.integers(0, 6000), st.just(b"")),
        st.tuples(st.just("close"), st.just(0), st.just(b"")),
    ),
    max_size=15,
)


@given(ops=_OPS, offset=st.integers(0, 6000), size=st.integers(0, 6000))
def test_a_staged_file_behaves_as_a_file(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[str, int, bytes]], offset: int, size: int
) -> None:
    folder = tmp_path_factory.mktemp("s")
    staging = make_staging(folder)
    file, model = staging.create(3, 1), bytearray()
    for kind, at, data in ops:
        if kind == "write":
            assert file.write(at, data) == len(data)
            if data:
                model.extend(bytes(max(0, at + len(data) - len(model))))
                model[at : at + len(data)] = data
        elif kind == "truncate":
            file.truncate(at)
            model = model[:at] + bytes(max(0, at - len(model)))
        else:
            file.close()
    assert file.size == len(model)
    assert file.read(offset, size) == bytes(model[offset : offset + size])
    assert file.path.read_bytes() == bytes(model)
    staging.close()


def test_after_a_crash_what_was_written_is_found_by_its_name(tmp_path: Path, staging: Staging) -> None:
    staging.create(7, 1).write(0, b"seven")
    staging.create(12, 34).write(3, b"x")
    (tmp_path / "staging" / "9-1.part").write_bytes(b"half a copy")
    again = make_staging(tmp_path)
    assert [(f.inode, f.generation, f.size) for f in again.scan()] == [(7, 1, 5), (12, 34, 4)]
    assert again.open(7, 1).read(0, 100) == b"seven"
    assert not (tmp_path / "staging" / "9-1.part").exists()
    again.close()


def test_a_staged_file_has_one_size_however_often_it_is_opened(staging: Staging) -> None:
    one, two = staging.create(1, 1), staging.open(1, 1)
    one.write(0, b"12345")
    assert two.size == 5


def test_creating_twice_and_opening_nothing_are_told(staging: Staging) -> None:
    staging.create(1, 1)
    with pytest.raises(AlreadyExists):
        staging.create(1, 1)
    with pytest.raises(NotFound):
        staging.open(1, 2)


async def test_what_goes_while_all_is_looked_at_is_left_out(staging: Staging) -> None:
    for generation in range(1, 40):
        staging.create(1, generation)

    async def look(done: trio.CancelScope) -> None:
        for _ in range(100):
            found = {(file.inode, file.generation) for file in await trio.to_thread.run_sync(staging.scan)}
            assert {(1, generation) for generation in range(1, 40)} <= found
        done.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, nursery.cancel_scope)
        while True:
            for inode in range(2, 20):
                staging.create(inode, 1)
            for inode in range(2, 20):
                staging.discard(inode, 1)
            await trio.lowlevel.checkpoint()


def test_discarding_removes_it_and_can_be_repeated(staging: Staging) -> None:
    file = staging.create(1, 1)
    staging.discard(1, 1)
    staging.discard(1, 1)
    assert not file.path.exists()
    assert staging.scan() == []
    assert staging.create(1, 1).size == 0


def test_a_gone_folder_is_a_sentence_not_a_traceback(staging: Staging) -> None:
    file = staging.create(1, 1)
    staging.close()
    file.path.unlink()
    with pytest.raises(StateUnusable, match="1-1"):
        file.write(0, b"x")
    with pytest.raises(StateUnusable, match="1-1"):
        file.read(0, 1)
    with pytest.raises(StateUnusable, match="1-1"):
        file.truncate(1)


def test_it_is_private(tmp_path: Path, staging: Staging) -> None:
    path = staging.create(1, 1).path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "staging").stat().st_mode) == 0o700


def test_ten_thousand_dirty_files_do_not_exhaust_descriptors(staging: Staging) -> None:
    before = len(os.listdir("/proc/self/fd"))
    files = [staging.create(number, 1) for number in range(2000)]
    for number, file in enumerate(files):
        file.write(0, str(number).encode())
    assert len(os.listdir("/proc/self/fd")) - before <= 128
    assert all(file.read(0, 10) == str(number).encode() for number, file in enumerate(files))


async def test_bytes_are_synced_once_for_all_who_wait(staging: Staging, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "remotefs.crashpoints")

    def syncs() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.getMessage().startswith("staged bytes are on the disk")]

    files = [staging.create(number, 1) for number in range(10)]
    async with trio.open_nursery() as nursery:
        for file in files:
            file.write(0, b"x")
            nursery.start_soon(file.sync)
            nursery.start_soon(file.sync)
    assert len(syncs()) == 10
    files[0].write(0, b"y")
    await files[0].sync()
    await files[0].sync()
    assert len(syncs()) == 11


async def test_a_sync_that_failed_is_never_called_a_success_later(
    staging: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = staging.create(1, 1)
    file.write(0, b"x")
    with failing(monkeypatch, "fdatasync", errno.EIO), pytest.raises(StateUnusable):
        await file.sync()
    with pytest.raises(StateUnusable):
        await file.sync()


def test_a_failed_sync_is_remembered_whatever_else_is_used(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long after, in a run of its own: for in this one nothing is collected that a traceback holds."""
    file = staging.create(1, 1)
    file.write(0, b"x")
    with failing(monkeypatch, "fdatasync", errno.EIO), pytest.raises(StateUnusable):
        trio.run(file.sync)
    file.close()
    del file
    for number in range(2, 1200):
        staging.create(number, 1)
    gc.collect()
    with pytest.raises(StateUnusable):
        trio.run(staging.open(1, 1).sync)
    staging.discard(1, 1)
    again = staging.create(1, 1)
    again.write(0, b"x")
    trio.run(again.sync)


# -- copy-on-write


async def test_a_clone_has_the_bytes_and_is_another_file(tmp_path: Path, staging: Staging) -> None:
    source = tmp_path / "content"
    data = os.urandom(300_000)
    source.write_bytes(data)
    copy = await staging.clone(5, 2, source, 200_000)
    assert copy.size == 200_000
    copy.write(0, b"changed")
    assert copy.path.read_bytes() == b"changed" + data[7:200_000]
    assert source.read_bytes() == data


async def test_holes_stay_holes(tmp_path: Path, staging: Staging) -> None:
    source = tmp_path / "content"
    with source.open("wb") as file:
        file.seek(20 * MIB)
        file.write(b"middle")
        file.truncate(40 * MIB)
    copy = await staging.clone(5, 2, source, 40 * MIB)
    assert copy.read(20 * MIB - 2, 10) == b"\0\0middle\0\0"
    assert copy.path.stat().st_size == 40 * MIB
    assert copy.path.stat().st_blocks * 512 < MIB


async def test_a_clone_of_a_file_that_is_too_short_is_refused(tmp_path: Path, staging: Staging) -> None:
    source = tmp_path / "content"
    source.write_bytes(b"short")
    with pytest.raises(CorruptionError):
        await staging.clone(5, 2, source, 6)
    assert staging.scan() == []
    assert list((tmp_path / "staging").iterdir()) == []


async def test_a_clone_does_not_replace_a_staged_file(tmp_path: Path, staging: Staging) -> None:
    source = tmp_path / "content"
    source.write_bytes(b"content")
    staging.create(5, 2).write(0, b"precious")
    with pytest.raises(AlreadyExists):
        await staging.clone(5, 2, source, 7)
    assert staging.open(5, 2).read(0, 10) == b"precious"


async def test_a_cancelled_clone_leaves_nothing(tmp_path: Path, staging: Staging) -> None:
    source = tmp_path / "content"
    source.write_bytes(b"content")
    with trio.CancelScope() as scope:
        scope.cancel()
        await staging.clone(5, 2, source, 7)
    assert list((tmp_path / "staging").iterdir()) == []


# -- room


def test_a_write_is_refused_before_the_reserve_is_touched(tmp_path: Path) -> None:
    space = Space()
    disk = Disk(tmp_path, CacheConfig(reserve_bytes=100 * 1024, reserve_fraction=0.0), statvfs=lambda _: space)
    staging = Staging(tmp_path / "staging", disk, Durability(tmp_path / "log"))
    file = staging.create(1, 1)
    space.f_bavail = 101
    assert file.write(0, b"x" * 1024) == 1024
    space.f_bavail = 100
    with pytest.raises(OutOfSpace):
        file.write(1024, b"y")
    assert file.size == 1024
    file.truncate(0)
    staging.discard(1, 1)
    assert disk.available() == 0
    staging.close()


@pytest.mark.root("mounts of small disks")
def test_cached_content_makes_way_for_what_is_written(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16 * MIB) as folder:
        config = CacheConfig(reserve_bytes=2 * MIB, reserve_fraction=0.0, evictable_fraction=0.9)
        disk = Disk(folder, config)
        durability = Durability(folder / "log")
        content = ContentStore(folder / "content", config, disk, durability)
        staging = Staging(folder / "staging", disk, durability)
        chunk = os.urandom(config.chunk_bytes)
        for index in range(12 * 8):
            content.put(f"f{index // 8}", MIB, index % 8 * config.chunk_bytes, chunk)
        file = staging.create(1, 1)
        for number in range(10):
            file.write(number * MIB, bytes(MIB))
        assert disk.free() >= disk.reserve
        with pytest.raises(OutOfSpace, match="reserve"):
            for number in range(10, 20):
                file.write(number * MIB, bytes(MIB))
        assert disk.free() >= disk.reserve, "the reserve is whole: unlink and SQLite go on"
        assert content.statistics().evictable_bytes == 0
        content.close()
        staging.close()


@pytest.mark.root("mounts of small disks")
def test_a_disk_that_others_filled_refuses_with_the_same_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", MIB) as folder:
        plenty = Space(f_bavail=1 << 40, f_blocks=1 << 40)
        disk = Disk(folder, NO_RESERVE, statvfs=lambda _: plenty)
        staging = Staging(folder / "staging", disk, Durability(folder / "log"))
        file = staging.create(1, 1)
        with pytest.raises(OutOfSpace):
            file.write(0, bytes(2 * MIB))
        assert file.size == file.path.stat().st_size, "what the kernel took is counted"
        staging.close()


def test_the_reserve_is_the_larger_figure_but_leaves_a_small_disk_usable(tmp_path: Path) -> None:
    def reserve(capacity_mib: int) -> int:
        return Disk(tmp_path, CacheConfig(), statvfs=lambda _: Space(1, capacity_mib, MIB)).reserve // MIB

    assert reserve(100 * 1024) == 5 * 1024
    assert reserve(10 * 1024) == 1024
    assert reserve(1024) == 256


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, OutOfSpace), (errno.EDQUOT, OutOfSpace), (errno.EIO, StateUnusable)]
)
def test_a_full_disk_is_told_from_a_broken_one(number: int, kind: type[Exception]) -> None:
    assert type(local_error(OSError(number, os.strerror(number)), Path("/state/x"))) is kind


# -- where state may live
