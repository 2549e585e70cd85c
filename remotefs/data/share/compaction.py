"""Keeps the log of this machine short: a snapshot in place of its segments, which go a week later (X3).

    more than 64 segments since the last ─► the rows of this machine in the map ─► parts ─► the first part, put last
    a week later ─► the snapshot is read back ─► it is the base of the log ─► what lies before it is removed

Why nothing is lost:

* A snapshot up to the segment S has the records of this machine that the map has. Each record of a segment up to S is
  one of these, or another one holds instead. If that is of this machine, it is in the snapshot or in a later segment;
  if not, it is in the log of its own machine, for which the same is true.
* Invariant: the record of a key changes only to one with a later stamp. So a row may change between two pages of a
  snapshot: the record that it had is needed no more.
* A snapshot is a promise about segments that this state folder has written or read. A copy of the state folder writes
  other segments under the same numbers, as long as neither has found out. Each makes its snapshots of what both have
  from before, or of what it put itself: `create` lets only one have a number. Nobody makes one, or removes anything,
  while the log has higher numbers than its own: then it is the other's log (`Publisher.renounce`).
* A number becomes free again when its segment is removed. `Publisher` sees by the base whether that may have happened.
  So the former base is the first that is removed, and the rest only after that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial

import trio

from remotefs import crashpoints
from remotefs.clocks import DAY_NS
from remotefs.data.share.dead_records import DeadRecords
from remotefs.data.share.log_objects import LogObjects
from remotefs.data.share.publisher import Publisher
from remotefs.data.share.segments import MOST_PARTS, Name, Segment, encode_lines, line_of
from remotefs.data.share.snapshots import (
    is_base_due,
    is_removal_due,
    is_snapshot_due,
    with_base,
    with_removal,
    with_snapshot,
    without_any,
)
from remotefs.errors import ObjectStoreDenied
from remotefs.store.shared_log import SharedRow
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# The size of a part: a quarter of what readers take, so that they hold little in memory.
PART_RECORDS, PART_BYTES = 50_000, 16 << 20
# Rows that are read without a turn for other tasks (H8).
_A_TURN = 200
# Pages of 1,000 objects that are removed at once; the rest goes with the next look.
_MOST_PAGES = 20


class Compaction:
    """Compacts the log of this machine. The task that publishes calls it, so that nothing is published meanwhile."""

    def __init__(self, store: Store, logs: LogObjects, publisher: Publisher) -> None:
        self._db = store.database
        self._meta = store.meta
        self._shared_log = store.shared_log
        self._logs = logs
        self._publisher = publisher
        self._dead = DeadRecords(store)
        # The number of a snapshot that could not be made; another one is tried.
        self._failed: int | None = None
        self._is_denied = False

    async def run(self) -> None:
        """Do what is due; to be called every hour or so. Raises ObjectStoreError."""
        await self._dead.forget()
        facts = self._meta.facts
        if facts.shared_writer is None or facts.shared_attempt is not None or self._publisher.is_joining:
            return
        if await self._logs.listed(facts.shared_writer, start=facts.shared_sequence, most_pages=1):
            self._publisher.renounce()
            return
        if is_snapshot_due(facts) and facts.shared_sequence - 1 != self._failed:
            await self._take_snapshot(facts.shared_writer, facts.shared_sequence - 1)
        await self._change_base(facts.shared_writer)
        await self._remove(facts.shared_writer)

    # -- the snapshot

    async def _take_snapshot(self, writer: str, sequence: int) -> None:
        """Put a snapshot up to a segment, unless there is one: of an earlier run, or of a copy of this state folder."""
        if not await self._put(writer, sequence) and not await self._is_whole(writer, sequence):
            self._failed = sequence
            return
        crashpoints.reached("shared log: the store has the snapshot", sequence)
        facts = self._meta.facts
        self._meta.record(shared_snapshots=with_snapshot(facts.shared_snapshots, sequence, facts.aged_ns))
        _log.info("the log of this machine has a snapshot up to segment %d", sequence)

    async def _put(self, writer: str, sequence: int) -> bool:
        """Put all parts; return False if another one is there in place of any, of which nothing is known."""
        cutter, after, part = _Cutter(), "", 0
        while rows := self._shared_log.of_writer(writer, _A_TURN, after=after):
            after = rows[-1].key
            for lines in cutter.feed(rows):
                part += 1
                if not await self._create(writer, Name(sequence, part), lines, 1):
                    return False
                crashpoints.reached("shared log: the store has a part of the snapshot", part)
            await trio.lowlevel.checkpoint()
        return await self._create(writer, Name(sequence, 0), cutter.rest, part + 1)

    async def _create(self, writer: str, name: Name, lines: list[bytes], parts: int) -> bool:
        assert parts <= MOST_PARTS, "nobody has so many records"
        data = await trio.to_thread.run_sync(partial(encode_lines, lines, writer=writer, name=name, parts=parts))
        return await self._logs.create(writer, name, data)

    async def _is_whole(self, writer: str, sequence: int) -> bool:
        """Return whether a snapshot is there and can be read with all its records."""
        problems: list[str] = []

        async def look(_: Segment, reasons: list[str]) -> None:
            problems.extend(reasons)

        try:
            await self._logs.read_snapshot(writer, sequence, look)
        except ValueError as error:
            problems.append(str(error))
        if problems:
            _log.warning("the snapshot %d of this machine's log is not used: %s", sequence, problems[0])
        return not problems

    # -- what is no more needed

    async def _change_base(self, writer: str) -> None:
        """Let the log begin with a snapshot that is old enough and can be read."""
        facts = self._meta.facts
        snapshots = facts.shared_snapshots
        if snapshots.next_base is None or not is_base_due(facts):
            return
        is_whole = await self._is_whole(writer, snapshots.next_base)
        self._meta.record(shared_snapshots=with_base(snapshots, facts.aged_ns) if is_whole else without_any(snapshots))
        if not is_whole:
            return
        # Invariant: on the disk before the former base is removed, else the next mount takes itself for a copy.
        await self._db.durable()
        crashpoints.reached("shared log: its base is another one", snapshots.next_base)

    async def _remove(self, writer: str) -> None:
        """Remove what lies before the base, page by page."""
        facts = self._meta.facts
        base = facts.shared_snapshots.base
        if base is None or not is_removal_due(facts):
            return
        start = 0
        for _ in range(_MOST_PAGES):
            page = await self._logs.listed(writer, start=start, most_pages=1)
            names = [name for name, _ in page if name.sequence < base]
            # Invariant: a former base goes before anything after it, see `Publisher._is_compacted`.
            bases = [name for name in names if name == Name(0) or name.part == 0]
            rest = [name for name in names if not (name == Name(0) or name.part == 0)]
            if not (await self._delete(writer, bases) and await self._delete(writer, rest)):
                return
            if not page or len(names) < len(page):
                self._removed(None)
                _log.info("the log of this machine begins with its snapshot %d", base)
                return
            start = names[-1].sequence + 1

    async def _delete(self, writer: str, names: list[Name]) -> bool:
        """Delete objects of the log; return whether that is allowed. If not, it is tried again a day later."""
        if not names:
            return True
        try:
            await self._logs.delete(writer, names)
        except ObjectStoreDenied as error:
            if not self._is_denied:
                _log.info("old segments of this machine's log stay in the shared store: %s", error)
            self._is_denied = True
            self._removed(self._meta.facts.aged_ns + DAY_NS)
            return False
        crashpoints.reached("shared log: some of it is removed", names[-1])
        return True

    def _removed(self, removal_ns: int | None) -> None:
        self._meta.record(shared_snapshots=with_removal(self._meta.facts.shared_snapshots, removal_ns))


class _Cutter:
    """Cuts rows into the lines of parts; `rest` has those of the part that is not full."""

    def __init__(self) -> None:
        self.rest: list[bytes] = []
        self._bytes = 0

    def feed(self, rows: list[SharedRow]) -> Iterator[list[bytes]]:
        """Take rows, and yield each part that is full."""
        for row in rows:
            # Bytes in place of objects, which the garbage collector would have to look through.
            line = line_of(row.key, row.hlc, row.record)
            if self.rest and (len(self.rest) >= PART_RECORDS or self._bytes + len(line) > PART_BYTES):
                yield self.rest
                self.rest, self._bytes = [], 0
            self.rest.append(line)
            self._bytes += len(line)
