"""`check --shared`: what the store has is read back, and put again where it is lost or damaged (X1)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from remotefs.config import Config, ServiceConfig, SharedConfig
from remotefs.control.messages.base import Progress, Warming
from remotefs.control.messages.check import CheckResult
from remotefs.data.content.chunks import Sums
from remotefs.data.share.header import decode, encode, header_bytes
from remotefs.errors import CorruptionError, ObjectStoreUnusable, RemotefsError, UsageError
from remotefs.mount.check.shared_objects import SharedScope
from remotefs.mount.commands.check import check_shared
from remotefs.mount.offline import check_shared as check_shared_offline
from tests.data.share.test_uploads import machine, objects, plug, unplug
from tests.faults import FaultyServer
from tests.parts import Host, running

Server = FaultyServer
Clock = trio.abc.Clock
_LARGE = os.urandom(3_000_000)


async def look(host: Host, path: str = "", *, every: bool = False, repair: bool = False) -> CheckResult:
    """`remotefs check --shared PATH`."""
    return await check_shared(host.parts, SharedScope(path, every), repair=repair, report=lambda _: None)


def found(result: CheckResult) -> dict[str, str]:
    """By path what is wrong and was not repaired."""
    return {finding.path: finding.kind for finding in result.findings if not finding.repaired}


def object_of(folder: Path, host: Host, path: str) -> Path:
    """The object of a file."""
    return next(file for file in objects(folder) if file.name == host.id(path))


def flip(path: Path, at: int = -1) -> None:
    """Change a byte."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def content_of(path: Path) -> bytes:
    """The bytes of an object."""
    return path.read_bytes()


DAMAGED, MISSING = "damaged in the shared store", "missing in the shared store"


async def test_lost_and_damaged_objects_are_named_and_put_again(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        one.mkdir("d")
        for path in ("sound", "lost", "d/flipped", "d/header"):
            await one.write(path, _LARGE)
        assert (await look(one)).findings == ()
        before = {path: content_of(object_of(folder, one, path)) for path in ("lost", "d/flipped", "d/header")}
        object_of(folder, one, "lost").unlink()
        flip(object_of(folder, one, "d/flipped"))
        flip(object_of(folder, one, "d/header"), 20)
        assert found(await look(one)) == {"lost": MISSING, "d/flipped": DAMAGED, "d/header": DAMAGED}
        assert found(await look(one, "d/header")) == {"d/header": DAMAGED}
        repaired = await look(one, repair=True)
        assert (found(repaired), repaired.repaired) == ({}, 3)
        assert {path: content_of(object_of(folder, one, path)) for path in before} == before
        assert (await look(one)).findings == ()


async def test_an_object_in_the_place_of_another_is_never_shown_and_is_found(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """Somebody who may write to the store put it there: its own checksums are right."""
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await one.write("a", b"first")
        await one.write("b", b"other")
        await one.until(lambda: not one.parts.shared.is_any_awaited())
        await two.walk()
        # Its record comes by the next poll.
        await trio.sleep(30.0)
        other, wanted = object_of(folder, one, "b"), object_of(folder, one, "a")
        wanted.write_bytes(content_of(other))
        with pytest.raises((CorruptionError, RemotefsError), match="other bytes than the ones that were uploaded"):
            await two.read("a")
        assert await two.read("b") == b"other"
        assert found(await look(two)) == {}
        assert found(await look(two, every=True)) == {"a": DAMAGED}
        # Its bytes are not on this disk, so nothing can be put right here.
        assert found(await look(two, every=True, repair=True)) == {"a": DAMAGED}
        assert (await look(one, repair=True)).repaired == 1
        assert await two.read("a") == b"first"
        # A machine that has read it can put it again, and does not claim it.
        wanted.unlink()
        assert (await look(two, every=True, repair=True)).repaired == 1
        assert (content_of(wanted)[-5:], two.parts.store.shares.find(two.id("a"))) == (b"first", None)


async def test_a_header_that_lies_is_found(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    """The header has the right digest, and right checksums of other bytes."""
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"first")
        await one.write("b", b"other")
        forge(object_of(folder, one, "a"), object_of(folder, one, "b"))
        assert found(await look(one)) == {"a": DAMAGED}


def forge(victim: Path, other: Path) -> None:
    """Give an object of one chunk the bytes of another one, and keep its digest."""
    data, bytes_of_other = victim.read_bytes(), other.read_bytes()
    size = 5
    mine, theirs = (decode(content[: header_bytes(size)], size) for content in (data, bytes_of_other))
    forged = Sums(mine.layout, digest=mine.digest)
    forged.set(0, theirs.entries()[0])
    victim.write_bytes(encode(forged) + bytes_of_other[header_bytes(size) :])


@pytest.mark.long
async def test_a_row_of_a_lost_object_without_bytes_does_not_say_that_it_is_there(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        await one.settled()
        object_of(folder, one, "a").unlink()
        one.parts.content.remove(one.id("a"))
        assert found(await look(one, repair=True)) == {"a": MISSING}
        assert not one.parts.store.shares.is_stored(one.id("a"))


@pytest.mark.long
async def test_a_store_out_of_reach_ends_it_and_nothing_is_taken_for_lost(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await one.write("a", b"bytes")
        unplug(folder, leaves_empty=True)
        with pytest.raises(ObjectStoreUnusable):
            await look(one, repair=True)
        assert one.parts.store.shares.is_stored(one.id("a"))
        plug(folder)
    async with running(tmp_path, server, state="without") as other:
        with pytest.raises(UsageError, match="no shared store"):
            await look(other)


@pytest.mark.long
async def test_readers_go_on_meanwhile_and_progress_is_shown(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        for number in range(12):
            await one.write(f"file {number}", _LARGE)
        await two.walk()
        shown: list[Progress] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                lambda: check_shared(two.parts, SharedScope("", True), repair=False, report=shown.append)
            )
            assert await two.read("file 7") == _LARGE
        last = shown[-1]
        assert isinstance(last, Warming)
        assert (last.files_done, last.files, last.bytes_done) == (12, 12, 12 * len(_LARGE))


@pytest.mark.long
def test_a_state_folder_without_a_mount_can_be_checked(tmp_path: Path, server: Server, folder: Path) -> None:
    async def fill() -> None:
        async with machine(tmp_path, server, folder, "one") as one:
            await one.write("a", _LARGE)
            object_of(folder, one, "a").unlink()

    trio.run(fill)
    config = Config(service=ServiceConfig(base_url=server.url), shared=SharedConfig(store=f"file://{folder}"))
    first = check_shared_offline(tmp_path / "one", config, SharedScope(), repair=False, report=lambda _: None)
    assert found(first) == {"a": MISSING}
    second = check_shared_offline(tmp_path / "one", config, SharedScope(), repair=True, report=lambda _: None)
    assert second.repaired == 1
    assert len(objects(folder)) == 1
