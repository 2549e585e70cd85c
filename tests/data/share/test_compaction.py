"""Logs stay short: snapshots, removed segments, machines that were away, and copies of state folders (X3, X4)."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

from remotefs.data.share import compaction, dead_records, exchange, log_reader, snapshots
from remotefs.data.share.records import EntryRecord, entry_key, file_key
from remotefs.data.share.segments import Name, Segment, decode, encode, parse_name
from remotefs.data.share.shared_records import SharedRecords
from remotefs.errors import ObjectStoreDenied
from remotefs.objects.folder import Folder
from tests.data.share.test_attributes import chattr, exchanged, furnish, tree
from tests.data.share.test_crashes import Killer
from tests.data.share.test_uploads import machine
from tests.faults import FaultyServer
from tests.parts import Host

Server = FaultyServer
Clock = trio.abc.Clock
DAY_NS = snapshots.DAY_NS


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot for every few segments, and looks at logs every few seconds."""
    monkeypatch.setattr(snapshots, "MOST_SEGMENTS", 4)
    monkeypatch.setattr(exchange, "_COMPACT_EVERY_S", 10.0)
    monkeypatch.setattr(log_reader, "_LOOK_EVERY_S", 10.0)


def log_of(folder: Path, host: Host) -> list[str]:
    """The objects in the log of a machine."""
    writer = host.parts.meta.facts.shared_writer
    return sorted(path.name for path in folder.glob(f"*/l/{writer}/*"))


def segments(names: Sequence[str]) -> list[int]:
    """The numbers of the segments among objects."""
    return [name.sequence for name in map(parse_name, names) if name.part is None]


def heads(names: Sequence[str]) -> list[int]:
    """The numbers of the snapshots among objects."""
    return [name.sequence for name in map(parse_name, names) if name.part == 0]


async def change(host: Host, times: int, path: str = "d") -> None:
    """Change a folder so often that each change gets a segment."""
    before = host.parts.meta.facts.shared_sequence
    for number in range(times):
        await chattr(host, path, mode=0o700 + number % 8, mtime_ns=1_500_000_000_000_000_000 + before + number)
        await host.until(lambda: not host.parts.store.shared_log.is_any_dirty())


async def compacted(host: Host) -> None:
    """Enough time has passed for a look at the log."""
    await trio.sleep(25.0)


def grow_older(host: Host, days: int) -> None:
    """Let days pass, by the clock that counts only what all clocks agree on."""
    host.parts.meta.record(aged_ns=host.parts.meta.facts.aged_ns + days * DAY_NS)


async def shortened(host: Host) -> None:
    """There is a snapshot, and what it stands for is removed."""
    await compacted(host)
    grow_older(host, 8)
    await compacted(host)


async def test_a_log_is_a_snapshot_and_few_segments_in_the_end(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        await compacted(one)
        newest, count = heads(log_of(folder, one))[-1], one.parts.meta.facts.shared_sequence
        assert segments(log_of(folder, one)) == list(range(count))
        grow_older(one, 6)
        await change(one, 1)
        await compacted(one)
        assert segments(log_of(folder, one))[0] == 0
        grow_older(one, 2)
        await compacted(one)
        assert segments(log_of(folder, one))[0] == newest == heads(log_of(folder, one))[0]
        await change(one, 2)
        async with machine(tmp_path, server, folder, "new") as new:
            await exchanged(one, new)
            assert tree(new) == tree(one)


async def test_a_log_without_news_gets_no_snapshot(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        await compacted(one)
        before = log_of(folder, one)
        grow_older(one, 3)
        await compacted(one)
        assert log_of(folder, one) == before
        await change(one, 1)
        await compacted(one)
        assert len(heads(log_of(folder, one))) == len(heads(before)) + 1


async def _joins(tmp_path: Path, server: Server, folder: Path, changes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Counter[str] = Counter()
    get, pages = Folder.get, Folder.pages

    def counted_get(self: Folder, key: str, start: int, length: int | None) -> bytes:
        read["GET"] += "/l/" in key
        return get(self, key, start, length)

    def counted_pages(self: Folder, prefix: str, after: str) -> object:
        read["LIST"] += "/l" in prefix
        return pages(self, prefix, after)

    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, changes)
        await compacted(one)
        await change(one, 2)
        wanted, names = tree(one), log_of(folder, one)
        later = segments(names)[-1] - heads(names)[-1]
        assert segments(names)[-1] >= changes
        assert later <= snapshots.MOST_SEGMENTS
    monkeypatch.setattr(log_reader, "_LOOK_EVERY_S", 3600.0)
    monkeypatch.setattr(Folder, "get", counted_get)
    monkeypatch.setattr(Folder, "pages", counted_pages)
    async with machine(tmp_path, server, folder, "new") as new:
        await new.until(lambda: bool(new.parts.store.shared_log.positions()))
        await trio.sleep(5.0)
        # The snapshot, the segments after it, and the look for another; two looks at the writers and one at the log.
        assert (read["GET"], read["LIST"]) == (1 + later + 1, 3)
        await exchanged(new)
        assert tree(new) == wanted
        read.clear()
        began = trio.current_time()
        await trio.sleep(120.0)
        # No look at the log meanwhile: a GET each poll, and two LISTs for the writers.
        polls = (trio.current_time() - began) / 6.0
        assert read["GET"] <= polls + 1
        assert read["LIST"] <= 2 * (polls + 1)


async def test_a_machine_that_joins_reads_a_snapshot_and_few_segments(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _joins(tmp_path, server, folder, 12, monkeypatch)


@pytest.mark.long
async def test_a_machine_that_joins_after_300_changes_reads_no_more(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "MOST_SEGMENTS", 64)
    await _joins(tmp_path, server, folder, 300, monkeypatch)
