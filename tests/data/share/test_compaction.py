"""Logs stay short: snapshots, removed segments, machines that were away, and copies of state folders (X3, X4)."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from remotefs.data.share import compaction, dead_records, exchange, log_reader, snapshots
from remotefs.data.share.compaction import Compaction
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
    monkeypatch.setattr(exchange, "_COMPACT_EVERY_S", 5.0)
    monkeypatch.setattr(log_reader, "_LOOK_EVERY_S", 5.0)


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
    await trio.sleep(15.0)


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


@pytest.mark.long
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


@pytest.mark.long
async def test_a_machine_that_was_away_catches_up_with_a_log_that_was_compacted(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        async with machine(tmp_path, server, folder, "two") as two:
            await exchanged(one, two)
        one.mkdir("while two was away")
        await change(one, 6)
        await shortened(one)
        await change(one, 6, "d/deep")
        await compacted(one)
        async with machine(tmp_path, server, folder, "two") as two:
            await exchanged(one, two)
            assert tree(two) == tree(one)
            assert "while two was away" in tree(two)


@pytest.mark.long
async def test_a_reader_notices_that_the_segment_it_needs_was_removed(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """A machine that slept for weeks is mounted all the time."""
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
        one.mkdir("new")
        await change(one, 6)
        await shortened(one)
        # As if it had read nothing of that.
        position = two.parts.store.shared_log.positions()
        two.parts.store.shared_log.read_up_to(next(iter(position)), 1)
        with two.parts.store.database.transaction():
            for key in (entry_key("new"), entry_key("d")):
                two.parts.store.database.execute("DELETE FROM shared_record WHERE key = ?", (key,))
        await trio.sleep(60.0)
        assert two.parts.store.shared_log.positions() == position
        await exchanged(one, two)
        assert tree(two) == tree(one)


@pytest.mark.long
async def test_a_half_removed_log_is_read(tmp_path: Path, server: Server, folder: Path, clock: Clock) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        await compacted(one)
        newest = heads(log_of(folder, one))[-1]
        for number in (0, newest // 2):
            _object(folder, one, Name(number)).unlink()
        async with machine(tmp_path, server, folder, "new") as new:
            await exchanged(one, new)
            assert tree(new) == tree(one)


def _object(folder: Path, host: Host, name: Name) -> Path:
    (path,) = folder.glob(f"*/l/{host.parts.meta.facts.shared_writer}/{name}")
    return path


async def test_a_damaged_snapshot_is_told_once_and_the_segments_are_read(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        await compacted(one)
        for sequence in heads(log_of(folder, one)):
            _damage(_object(folder, one, Name(sequence, 0)))
        async with machine(tmp_path, server, folder, "new") as new:
            await exchanged(one, new)
            assert tree(new) == tree(one)
            assert len([r for r in caplog.records if "lacks its snapshot" in r.getMessage()]) == len(
                heads(log_of(folder, one))
            )


def _damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.long
async def test_nothing_is_removed_for_a_snapshot_that_cannot_be_read(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        await compacted(one)
        damaged = one.parts.meta.facts.shared_snapshots.next_base
        assert damaged is not None
        _damage(_object(folder, one, Name(damaged, 0)))
        await shortened(one)
        assert segments(log_of(folder, one)) == list(range(one.parts.meta.facts.shared_sequence))
        await change(one, 1)
        await shortened(one)
        assert segments(log_of(folder, one))[0] > damaged
        async with machine(tmp_path, server, folder, "new") as new:
            await exchanged(one, new)
            assert tree(new) == tree(one)


async def test_a_segment_that_is_missing_without_a_snapshot_is_told_once(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 4)
        _object(folder, one, Name(1)).unlink()
        async with machine(tmp_path, server, folder, "new"):
            await trio.sleep(60.0)
            assert len([r for r in caplog.records if "stops at segment 1" in r.getMessage()]) == 1


async def test_without_the_right_to_delete_old_segments_stay(
    tmp_path: Path,
    server: Server,
    folder: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "remotefs.data.share.compaction")
    tries: list[Sequence[str]] = []

    def refused(_: Folder, keys: Sequence[str]) -> None:
        tries.append(keys)
        raise ObjectStoreDenied("the shared store refuses access")

    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        with monkeypatch.context() as denied:
            denied.setattr(Folder, "delete", refused)
            await shortened(one)
            await compacted(one)
            assert (segments(log_of(folder, one))[0], len(tries)) == (0, 1)
            grow_older(one, 1)
            await compacted(one)
            assert len(tries) == 2
        assert len([r for r in caplog.records if "stay in the shared store" in r.getMessage()]) == 1
        grow_older(one, 1)
        await compacted(one)
        assert segments(log_of(folder, one))[0] > 0


@pytest.mark.long
async def test_a_snapshot_in_parts_is_read_whole_although_rows_change_meanwhile(
    tmp_path: Path,
    server: Server,
    folder: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A row changes to a later record only, which is in another log or in a later segment."""
    monkeypatch.setattr(compaction, "_A_TURN", 1)
    monkeypatch.setattr(compaction, "PART_RECORDS", 1)
    changed = EntryRecord("dir", 0o711, mtime_ns=5)
    other = "ee" * 16

    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 4)

        def by_another(record: logging.LogRecord) -> bool:
            if record.getMessage().startswith("shared log: the store has a part of the snapshot 2"):
                hlc = one.parts.meta.facts.shared_hlc + 1
                records = SharedRecords(one.parts.store.database, one.parts.store.shared_log)
                for key in (entry_key("d/deep/er"), entry_key("d")):
                    records.merge(other, [(key, hlc, changed)])
                data = encode(
                    Segment(
                        writer=other,
                        name=Name(0),
                        records=tuple((entry_key(path), hlc, changed) for path in ("d", "d/deep/er")),
                    )
                )
                log = next(iter(folder.glob("*/l"))) / other
                log.mkdir(exist_ok=True)
                (log / str(Name(0))).write_bytes(data)
            return True

        logger = logging.getLogger("remotefs.crashpoints")
        caplog.set_level(logging.DEBUG, logger.name)
        logger.addFilter(by_another)
        try:
            await change(one, 1)
            await shortened(one)
        finally:
            logger.removeFilter(by_another)
        assert len([name for name in log_of(folder, one) if ".s" in name]) > 3
        assert segments(log_of(folder, one))[0] > 0
        async with machine(tmp_path, server, folder, "new") as new:
            await exchanged(one, new)
            assert tree(new) == tree(one)
            assert new.stat("d/deep/er").mode & 0o777 == 0o711


@pytest.mark.long
async def test_records_of_files_that_are_gone_for_a_month_are_dropped(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
        gone, kept = one.stat("top").file_id, one.stat("d/a").file_id
        assert gone is not None
        assert kept is not None
        one.unlink("top")
        await exchanged(one, two)

        async def walked(times: int) -> None:
            for _ in range(times):
                for host in (one, two):
                    await host.walk()
                await compacted(one)

        def has(host: Host, file_id: str) -> bool:
            return host.parts.store.shared_log.find(file_key(file_id)) is not None

        await walked(5)
        assert has(one, gone)
        monkeypatch.setattr(dead_records, "_MONTH_NS", 0)
        await change(one, 1)
        await walked(2)
        assert has(one, gone)
        await walked(4)
        assert [(has(host, gone), has(host, kept)) for host in (one, two)] == [(False, True)] * 2
        await change(one, 5)
        await shortened(one)
        newest = one.parts.meta.facts.shared_snapshots.newest
        assert newest is not None
        writer = one.parts.meta.facts.shared_writer
        assert writer is not None
        found, _ = decode(_object(folder, one, Name(newest, 0)).read_bytes(), writer=writer, name=Name(newest, 0))
        keys = {key for key, _, _ in found.records}
        assert file_key(kept) in keys
        assert file_key(gone) not in keys


# -- copies of a state folder


async def _nothing(_: Compaction) -> None:
    """No look at the log."""


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param(False, id="it writes first"),
        pytest.param(True, id="it looks at its log first", marks=pytest.mark.long),
    ],
)
@pytest.mark.long
async def test_a_copy_that_slept_while_its_original_compacted_loses_nothing(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    """The numbers of its next segments are free again, because the original has removed its own."""
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await exchanged(one)
        one.kill_copy("copy")
        await change(one, 6)
        one.mkdir("of one")
        await shortened(one)
        number = one.parts.meta.facts.shared_sequence
        if not looks:
            monkeypatch.setattr(Compaction, "run", _nothing)
        async with machine(tmp_path, server, folder, "copy") as copy:
            assert copy.parts.meta.facts.shared_sequence < segments(log_of(folder, one))[0] < number
            copy.mkdir("of the copy")
            await exchanged(copy, one)
            await exchanged(copy, one)
            assert tree(copy) == tree(one)
            assert {"of one", "of the copy"} <= set(tree(one))
            assert copy.parts.meta.facts.shared_writer != one.parts.meta.facts.shared_writer
            async with machine(tmp_path, server, folder, "new") as new:
                await exchanged(copy, one, new)
                assert tree(new) == tree(one)


@pytest.mark.long
async def test_a_copy_that_changes_nothing_follows_its_original(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await exchanged(one)
        one.kill_copy("copy")
        one.mkdir("of one")
        await exchanged(one)
        async with machine(tmp_path, server, folder, "copy") as copy:
            await exchanged(one, copy)
            assert tree(copy) == tree(one)


@pytest.mark.long
async def test_a_state_folder_that_is_set_back_loses_nothing(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    """As by the snapshot of a virtual machine: nobody writes its log beside it, but its own future did."""
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await exchanged(one)
        one.kill_copy("earlier")
        await change(one, 6)
        one.mkdir("lost here")
        await shortened(one)
        wanted = tree(one)
    async with machine(tmp_path, server, folder, "earlier") as one, machine(tmp_path, server, folder, "two") as two:
        one.mkdir("new")
        await exchanged(one, two)
        await exchanged(one, two)
        assert tree(one) == tree(two)
        assert set(tree(two)) == {*wanted, "new"}


@pytest.mark.long
async def test_copies_that_compact_the_same_log_at_the_same_time_agree(
    tmp_path: Path, server: Server, folder: Path, clock: Clock
) -> None:
    async with machine(tmp_path, server, folder, "one") as one:
        await furnish(one)
        await change(one, 6)
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        one.kill_copy("copy")
        async with machine(tmp_path, server, folder, "copy") as copy:
            await compacted(one)
            for host in (one, copy):
                grow_older(host, 8)
            await compacted(one)
            one.mkdir("of one")
            copy.mkdir("of the copy")
            await exchanged(one, copy)
            await exchanged(one, copy)
            assert tree(one) == tree(copy)
            assert {"of one", "of the copy"} <= set(tree(one))
            async with machine(tmp_path, server, folder, "new") as new:
                await exchanged(one, copy, new)
                assert tree(new) == tree(one)


# -- crashes

POINTS = [
    pytest.param("shared log: the store has a part of the snapshot", 2, marks=pytest.mark.long),
    pytest.param("shared log: the store has the snapshot", 1, marks=pytest.mark.long),
    pytest.param("shared log: its base is another one", 1, marks=pytest.mark.long),
    pytest.param("shared log: some of it is removed", 1, marks=pytest.mark.long),
    pytest.param("shared log: some of it is removed", 2, marks=pytest.mark.long),
    pytest.param("shared log: the store has the segment", 9, marks=pytest.mark.long),
]


@pytest.mark.parametrize(("step", "nth"), POINTS)
async def test_all_end_alike_when_a_machine_is_killed_while_it_compacts(
    tmp_path: Path,
    server: Server,
    folder: Path,
    clock: Clock,
    step: str,
    nth: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compaction, "PART_RECORDS", 3)
    async with machine(tmp_path, server, folder, "one") as one, machine(tmp_path, server, folder, "two") as two:
        await furnish(one)
        await exchanged(one, two)
    killer, log = Killer(step, nth), logging.getLogger("remotefs.crashpoints")
    caplog.set_level(logging.DEBUG, log.name)
    log.addHandler(killer)
    try:
        async with machine(tmp_path, server, folder, "one") as one:
            killer.host = one
            one.mkdir("new")
            await change(one, 9)
            await shortened(one)
    finally:
        log.removeHandler(killer)
    assert killer.has_killed
    async with (
        machine(tmp_path, server, folder, "after") as after,
        machine(tmp_path, server, folder, "two") as two,
        machine(tmp_path, server, folder, "three") as three,
    ):
        writer = after.parts.meta.facts.shared_writer
        await change(after, 6)
        await shortened(after)
        await exchanged(after, two, three)
        assert tree(after) == tree(two) == tree(three)
        assert "new" in tree(three)
        assert after.parts.meta.facts.shared_writer == writer
        assert segments(log_of(folder, after))[0] > 0
