"""What the kernel keeps of a content file once a reader has passed it, asked of the kernel."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest
import trio

from remotefs.data.download.readahead import ReadWindow
from tests.data.download.test_downloader import MIB, Service, running

LARGE = bytes(range(256)) * (64 * MIB // 256)
SMALL = LARGE[: 8 * MIB]


def resident(path: Path) -> float:
    """The part of a file that is in the page cache."""
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        pages = -(-len(mapped) // mmap.PAGESIZE)
        flags = (ctypes.c_ubyte * pages)()
        start = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.byref(start), ctypes.c_size_t(len(mapped)), flags)
        del start
    assert not failed, os.strerror(ctypes.get_errno())
    return sum(flag & 1 for flag in flags) / pages


def written(path: Path) -> Path:
    """Dirty pages cannot go; when the kernel writes them by itself is its own affair."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return path


@pytest.fixture(autouse=True)
def _a_file_system_that_forgets(tmp_path: Path) -> None:
    path = tmp_path / "control"
    path.write_bytes(SMALL)
    with written(path).open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if resident(path):
        pytest.skip("this file system keeps pages whatever it is told")


async def test_a_large_file_read_in_order_leaves_no_second_copy_in_memory(tmp_path: Path) -> None:
    async with running(tmp_path, Service({"f1": LARGE}, piece=MIB), chunk=MIB // 8) as bench:
        await bench.downloader.fetch_all("f1", len(LARGE))
        path = written(bench.content.where("f1"))
        assert resident(path) > 0.9
        window = ReadWindow()
        for offset in range(0, len(LARGE), MIB):
            assert await bench.read(offset, MIB, window) == LARGE[offset : offset + MIB]
        for _ in range(1000):
            if resident(path) < 0.25:
                return
            await trio.sleep(0.01)
    raise AssertionError("its pages stay")


async def test_what_is_read_here_and_there_or_is_small_stays(tmp_path: Path) -> None:
    async with running(tmp_path, Service({"f1": LARGE, "f2": SMALL}, piece=MIB), chunk=MIB // 8) as bench:
        for file_id, content in bench.service.files.items():
            await bench.downloader.fetch_all(file_id, len(content))
            path = written(bench.content.where(file_id))
            window = ReadWindow()
            step = 9 * MIB if file_id == "f1" else MIB
            for offset in range(0, len(content), step):
                await bench.read(offset, MIB, window, file_id)
            await trio.testing.wait_all_tasks_blocked()
            assert resident(path) > 0.9
