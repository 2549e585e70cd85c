"""A disk that fails in the middle of a download: the reader gets its bytes or its errno, and the next one is served."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from remotefs.errors import LengthDiffers, OutOfSpace
from tests.data.download.scene import BIG, CHUNK, READ, Bench, Service, body, running
from tests.failing import below, failing

CODES = [errno.EMFILE, errno.EIO, errno.ENOSPC, errno.EACCES]
# What the content folder asks the kernel for.
CALLS = ["open", "pread", "pwrite", "ftruncate", "unlink", "replace", "statvfs"]


def close_files(bench: Bench) -> None:
    """Let go of all descriptors, so that the next read opens the files again."""
    bench.content._folder._open.close()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("call", CALLS)
async def test_a8_a_cache_that_cannot_be_filled_is_a_miss(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    service = Service({"f1": BIG, "f2": BIG})
    async with running(tmp_path, service) as bench:
        with failing(monkeypatch, call, code, when=below(tmp_path)):
            assert await bench.read(0, READ) == BIG[:READ]
            assert await bench.read(7, READ, file_id="f2") == BIG[7 : 7 + READ]
        assert await bench.read(0, len(BIG)) == BIG
        await bench.downloader.fetch_all("f2", len(BIG))
        assert bench.content.has_all("f2")
        assert bench.downloader.statistics().readers_waiting == 0


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("call", ["open", "pread", "pwrite"])
async def test_a8_a_cache_that_cannot_be_read_is_a_miss(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        close_files(bench)
        with failing(monkeypatch, call, code, when=below(tmp_path)):
            assert await bench.read(0, READ) == BIG[:READ]
            assert await bench.read(77 * CHUNK, READ) == BIG[77 * CHUNK : 77 * CHUNK + READ]
        asked = len(service.requests)
        assert asked <= 3, "one for each read at most"
        assert await bench.read(0, len(BIG)) == BIG
        assert len(service.requests) == asked, "what is whole on the disk stays there"


async def test_a_damaged_chunk_that_cannot_be_dropped_is_fetched(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        bench.damage()
        with failing(monkeypatch, "pwrite", errno.EIO, when=below(tmp_path)):
            for _ in range(2):
                assert await bench.read(0, READ) == BIG[:READ]
        assert await bench.read(0, len(BIG)) == BIG


@pytest.mark.parametrize("part", ["sums", "bytes"])
async def test_damaged_sums_are_fetched_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, part: str
) -> None:
    service = Service({"f1": BIG})
    async with running(tmp_path, service) as bench:
        await bench.downloader.fetch_all("f1", len(BIG))
        close_files(bench)
        data, sums = bench.content.files_of("f1")
        (sums if part == "sums" else data).write_bytes(b"x" * 100)
        assert await bench.read(0, len(BIG)) == BIG
        await bench.downloader.fetch_all("f1", len(BIG))
        assert bench.content.has_all("f1")


async def test_who_wants_the_whole_file_on_the_disk_gets_the_error(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, Service({"f1": BIG})) as bench:
        with failing(monkeypatch, "open", errno.EMFILE, when=below(tmp_path)), pytest.raises(OutOfSpace):
            await bench.downloader.fetch_all("f1", len(BIG))
        await bench.downloader.fetch_all("f1", len(BIG))


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("call", ["unlink", "none"])
async def test_bytes_of_a_wrong_length_are_an_error_also_where_they_cannot_be_dropped(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, call: str, full: bool
) -> None:
    """Nor are they kept in memory where the disk is full."""
    true = body(len(BIG) + 5000)
    service = Service({"f1": true, "f2": BIG}, announce=False)
    async with running(tmp_path, service) as bench:
        bench.space.f_bavail = 0 if full else bench.space.f_bavail
        with failing(monkeypatch, call, errno.EIO, when=below(tmp_path)) if call != "none" else monkeypatch.context():
            with pytest.raises(LengthDiffers):
                await bench.downloader.read("f1", len(BIG), 0, len(BIG), None)
            assert len(service.requests) == 1
            assert await bench.read(0, READ, file_id="f2") == BIG[:READ]
        if call == "none":
            assert bench.memory.get("f1", 0) is None
            assert not bench.content.has_all("f1")


async def test_a_body_without_end_is_read_no_further_than_any_file_goes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Without what the listing says of the file, as a source that is not the service has it."""
    sent = 0

    async def pieces() -> Any:
        nonlocal sent
        while True:
            sent += 1 << 20
            yield bytes(1 << 20)

    class Endless(Service):
        def _pieces(self, *args: Any) -> Any:
            return pieces()

    async with running(tmp_path, Endless({"f1": b"x"}, announce=False)) as bench:
        with trio.fail_after(60), pytest.raises(LengthDiffers):
            await bench.downloader.read("f1", len(BIG), 0, len(BIG), None)
    assert sent <= len(BIG) + (20 << 20)
