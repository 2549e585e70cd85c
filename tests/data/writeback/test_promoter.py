"""What the service has confirmed becomes content, the files of a moment together."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from remotefs.errors import CorruptionError, StateUnusable
from remotefs.vfs.handles import OpenFile
from tests.faults import FaultyServer, Hold
from tests.parts import Host, rows_that_cannot_be_written, running

_FILES = 8
# Changes of inode rows: to being content.
SETTLED = "OLD.staged_gen IS NOT NULL AND NEW.staged_gen IS NULL"


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: trio.abc.Clock) -> AsyncIterator[Host]:
    async with running(tmp_path, server) as host:
        yield host


def staged(host: Host) -> list[str]:
    return os.listdir(host.state_dir / "staging")


def steps(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """How often each was reached since the last call."""
    found = Counter(str(record.args[0]) for record in caplog.records if isinstance(record.args, tuple))
    caplog.clear()
    return found


async def uploaded(host: Host, path: str, data: bytes) -> OpenFile:
    """A file that the service has and that is still open for writing: so it is not content yet."""
    handle = await host.open(path, os.O_WRONLY | os.O_CREAT)
    await host.fs.files.write(handle.fh, 0, data)
    await host.fs.files.flush(handle.fh)
    assert host.pending() == []
    return handle


async def test_files_of_a_moment_share_the_syncs(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """One data sync a file before its close returns, one of its sums after it; the rest is shared."""
    caplog.set_level(logging.DEBUG, "remotefs.crashpoints")
    handles = [await uploaded(host, f"f{number}", b"%d" % number) for number in range(_FILES)]
    before = steps(caplog)
    assert before["staged bytes are on the disk"] == _FILES
    assert before["database is on the disk"] <= _FILES + 1
    for handle in handles:
        await host.fs.files.release(handle.fh)
    await host.settled()
    after = steps(caplog)
    assert staged(host) == []
    assert (after["sums are written"], after["staged bytes are on the disk"]) == (_FILES, 0)
    assert after["database is on the disk"] <= _FILES // 2
    for number in range(_FILES):
        assert await host.read(f"f{number}") == b"%d" % number


async def test_what_is_confirmed_is_read_and_written_before_it_is_settled(host: Host) -> None:
    first = await uploaded(host, "a", b"hello")
    assert (len(staged(host)), await host.read("a")) == (1, b"hello")
    await host.write("a", b"J", os.O_WRONLY)
    assert await host.read("a") == b"Jello"
    await host.fs.files.release(first.fh)
    await host.settled()
    assert (await host.read("a"), host.remote_bytes("a"), staged(host)) == (b"Jello", [b"Jello"], [])


async def test_it_happens_by_itself(host: Host) -> None:
    await host.write("a", b"hello")
    await host.until(lambda: not staged(host))
    assert await host.read("a") == b"hello"


async def test_a_file_that_cannot_become_content_does_not_hold_up_the_others(host: Host) -> None:
    handles = [await uploaded(host, path, b"hello") for path in ("spoiled", "sound")]
    name = f"{host.stat('spoiled').ino}-{host.stat('spoiled').staged_gen}"
    (host.state_dir / "staging" / name).write_bytes(b"jello")
    for handle in handles:
        await host.fs.files.release(handle.fh)
    await host.settled()
    assert (sorted(staged(host)), host.stat("sound").staged_gen) == ([name, f"{name}.damaged"], None)
    assert host.xattr("spoiled", "state") == "failed: its bytes on this disk are damaged"
    with pytest.raises(CorruptionError):
        await host.read("spoiled")


@asynccontextmanager
async def content_whose_row_stays_as_it_was(host: Host, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """`a` has become content, and its row cannot be written while the block lasts."""
    handle = await uploaded(host, "a", b"hello")
    with rows_that_cannot_be_written(host, SETTLED):
        await host.fs.files.release(handle.fh)
        await host.until(lambda: "stays in staging" in caplog.text)
        yield


async def test_h7_what_became_content_is_readable_though_its_row_cannot_be_written(
    host: Host, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with content_whose_row_stays_as_it_was(host, caplog):
        assert (staged(host), host.stat("a").staged_gen is None) == ([], False)
        assert await host.read("a") == b"hello"
        handle = await host.open("a", os.O_RDWR)
        await host.fs.files.fsync(handle.fh)
        with pytest.raises(StateUnusable):
            await host.fs.files.write(handle.fh, 0, b"J")
        assert await host.fs.files.read(handle.fh, 0, 5) == b"hello"
    await host.fs.files.write(handle.fh, 0, b"J")
    await host.close(handle)
    await host.settled()
    assert (await host.read("a"), host.remote_bytes("a"), staged(host)) == (b"Jello", [b"Jello"], [])


async def test_w7_what_became_content_outlives_the_id_that_a_new_name_replaces(
    host: Host, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with content_whose_row_stays_as_it_was(host, caplog):
        host.rename("a", "b")
        host.make_due()
        await trio.sleep(10)
        assert await host.read("b") == b"hello"
    await host.settled()
    assert (await host.read("b"), host.remote_names(), staged(host)) == (b"hello", ["b"], [])


async def test_h7_it_is_tried_again_by_itself(
    host: Host, clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    handle = await uploaded(host, "a", b"hello")
    with rows_that_cannot_be_written(host, SETTLED):
        await host.fs.files.release(handle.fh)
        await trio.sleep(100)
        assert caplog.text.count("stays in staging") == 5, "at once, and after 5, 10, 20 and 40 s"
    await host.until(lambda: host.stat("a").staged_gen is None, tries=81)


async def test_it_does_not_wait_for_whoever_downloads_what_is_to_be_written_to(
    host: Host, server: FaultyServer
) -> None:
    """With the network gone nothing else would be settled, and `remotefs flush` would wait for nothing."""
    server.store.add_generated("generated", b"hello")
    await host.walk()
    download = server.script.add(Hold(), op="content")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.write, "generated", b"J", os.O_WRONLY)
        await download.until_hit()
        host.parts.promoter.request(host.stat("generated").ino)
        with trio.fail_after(60):
            await host.parts.promoter.finish()
        assert host.stat("generated").staged_gen is None, "it still downloads"
        download.release()
    assert await host.read("generated") == b"Jello"
