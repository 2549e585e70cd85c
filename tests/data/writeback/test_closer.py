"""A close that failed is told to its program, and made up for once the disk lets it (H7)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import FlushParams, PathParams
from remotefs.errors import StateUnusable
from remotefs.store.records import ContentState
from remotefs.vfs.attributes import AttributeChange
from tests.commands import commands, quietly
from tests.failing import unreadable_rows
from tests.faults import FaultyServer
from tests.parts import Host, running

Clock = trio.abc.Clock


@pytest.fixture
async def host(tmp_path: Path, server: FaultyServer, clock: Clock) -> AsyncIterator[Host]:
    async with running(tmp_path, server, durability="local") as host:
        await host.write("a", b"hello")
        await host.settled()
        yield host


@contextmanager
def unreadable_staging(host: Host) -> Iterator[None]:
    """What is staged cannot be opened for as long as this lasts."""
    folder = host.state_dir / "staging"
    host.parts.staging.close()
    hidden = folder.rename(folder.with_name("hidden"))
    yield
    hidden.rename(folder)


async def close_in_vain(host: Host) -> None:
    """Write as many bytes as there were, and a close that cannot compare them."""
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"HELLO")
    with unreadable_staging(host):
        with pytest.raises(OSError, match="No such file"):
            await host.fs.files.flush(handle.fh)
        with pytest.raises(OSError, match="No such file"):
            await host.fs.files.release(handle.fh)
    assert host.stat("a").state == ContentState.DIRTY
    assert host.fs.handles.statistics().files == 0


async def test_it_is_closed_again_by_itself_and_goes_up(host: Host, clock: Clock) -> None:
    await close_in_vain(host)
    await host.until(lambda: host.remote_bytes("a") == [b"HELLO"], tries=30)
    await host.settled()
    assert host.xattr("a", "state") == "clean"


async def test_status_names_it_until_it_is_closed(host: Host, clock: Clock) -> None:
    await close_in_vain(host)
    (failed,) = (await commands(host).status.status(Nothing(), quietly)).failed
    assert (failed.path, "No such file" in failed.reason) == ("a", True)
    await host.until(lambda: host.remote_bytes("a") == [b"HELLO"], tries=30)
    assert (await commands(host).status.status(Nothing(), quietly)).failed == ()


async def test_retry_closes_it_at_once(host: Host, clock: Clock) -> None:
    await close_in_vain(host)
    assert (await commands(host).status.retry(PathParams("a"), quietly)).count == 1
    assert host.stat("a").state != ContentState.DIRTY
    assert (await commands(host).status.retry(PathParams(), quietly)).count == 0
    await host.settled()
    assert host.remote_bytes("a") == [b"HELLO"]


@pytest.mark.parametrize("path", ["", "a"])
async def test_flush_closes_it_at_once(host: Host, clock: Clock, path: str) -> None:
    await close_in_vain(host)
    assert (await commands(host).status.flush(FlushParams(path=path, timeout_s=5.0), quietly)).left == 0
    assert host.remote_bytes("a") == [b"HELLO"]


async def test_a_drain_closes_it_at_once(host: Host, clock: Clock) -> None:
    await close_in_vain(host)
    assert await host.parts.drainer.drain(5.0) == []
    assert host.remote_bytes("a") == [b"HELLO"]


async def test_what_still_cannot_be_closed_is_left_and_says_why(host: Host, clock: Clock) -> None:
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"HELLO")
    with unreadable_staging(host):
        for verb in (host.fs.files.flush, host.fs.files.release):
            with pytest.raises(OSError, match="No such file"):
                await verb(handle.fh)
        result = await commands(host).status.flush(FlushParams(timeout_s=5.0), quietly)
    assert result.left == 1
    assert [(item.path, "No such file" in item.reason) for item in result.leftovers] == [("a", True)]
    await host.until(lambda: host.remote_bytes("a") == [b"HELLO"], tries=70)


async def test_truncating_a_path_counts_as_a_close_that_can_fail(host: Host, clock: Clock) -> None:
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"HELLO longer")
    host.parts.handles.close_file(handle.fh)  # as if it had failed before anybody noticed
    with unreadable_staging(host), pytest.raises((OSError, StateUnusable)):
        await host.fs.attributes.setattr(handle.ino, AttributeChange(size=5), None)
    await host.until(lambda: host.remote_bytes("a") == [b"HELLO longer"], tries=100)


async def test_what_nobody_noticed_is_found_within_a_minute(host: Host, clock: Clock) -> None:
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"HELLO")
    await trio.sleep(200)
    assert host.stat("a").state == ContentState.DIRTY
    host.parts.handles.close_file(handle.fh)
    await trio.sleep(61)
    await host.settled()
    assert host.remote_bytes("a") == [b"HELLO"]


async def test_while_no_row_can_be_read_it_is_not_looked_for_all_the_time(
    host: Host, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await close_in_vain(host)
    with unreadable_rows(host):
        await trio.sleep(3600.0)
    assert 10 < caplog.text.count("files that are not closed cannot be looked for") < 80
    await host.until(lambda: host.remote_bytes("a") == [b"HELLO"], tries=100)


async def test_one_that_is_open_for_writing_again_is_left_to_its_close(host: Host, clock: Clock) -> None:
    await close_in_vain(host)
    handle = await host.open("a", os.O_WRONLY)
    await trio.sleep(200)
    assert host.stat("a").state == ContentState.DIRTY
    await host.close(handle)
    await host.settled()
    assert host.remote_bytes("a") == [b"HELLO"]


async def test_a_close_of_the_same_descriptor_does_not_call_it_a_success(host: Host, clock: Clock) -> None:
    """It was duplicated: each close(2) sends a FLUSH."""
    handle = await host.open("a", os.O_WRONLY)
    await host.fs.files.write(handle.fh, 0, b"HELLO")
    with unreadable_staging(host):
        for _ in range(2):
            with pytest.raises(OSError, match="No such file"):
                await host.fs.files.flush(handle.fh)
    await host.fs.files.flush(handle.fh)
    await host.fs.files.release(handle.fh)
    await host.settled()
    assert host.remote_bytes("a") == [b"HELLO"]
