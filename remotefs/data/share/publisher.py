"""Publishes what changed here: the inodes that were marked, compared with the map, as one segment (X3).

    marked inodes ─► their records now ─► those that differ from the map ─► a segment in the store ─► the map

A folder that gets a thousand files is marked a thousand times and costs one record. A segment whose reply was lost is
known again by its checksum, which is on the disk before it goes out. A segment that is there and is none of ours means
that this state folder was copied, and that the copy writes too: then this one takes a new writer id.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field

import trio

from remotefs import crashpoints
from remotefs.data.content.chunks import checksum
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.records import EntryRecord, KeyedRecord, Record, parse_key
from remotefs.data.share.segments import Segment, decode, encode
from remotefs.data.share.shared_records import SharedRecords, record_of
from remotefs.data.share.stamps import HybridClock
from remotefs.data.share.tree_records import TreeRecords
from remotefs.store.shared_log import SharedLog
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# Inodes that are looked at without a turn for other tasks, and those of one segment, whose rows change at once (H8).
_A_TURN, _MOST_INODES = 50, 500
_WRITER_BYTES = 16


@dataclass
class _Changes:
    """What a look at marked inodes found: records by key, the keys that inodes have and have no more."""

    marked: list[tuple[int, int]] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)


class Publisher:
    """Writes the log of this machine. One task publishes at a time."""

    def __init__(
        self,
        store: Store,
        contents: SharedContents,
        records: SharedRecords,
        tree_records: TreeRecords,
        clock: HybridClock,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._meta = store.meta
        self._shared_log: SharedLog = store.shared_log
        self._contents = contents
        self._records = records
        self._tree_records = tree_records
        self._clock = clock
        self._is_joining = False

    async def join(self) -> None:
        """Mark the whole tree if it may have changed unseen: in the first mount with the store, or after one without.

        What other machines said meanwhile then comes before it.
        """
        if self._meta.facts.shared_writer is not None and not self._meta.facts.shared_gap:
            return
        self._is_joining = True
        after = 0
        while inos := self._shared_log.any_inodes(_MOST_INODES, after=after):
            self._shared_log.mark(inos)
            after = inos[-1]
            await trio.lowlevel.checkpoint()
        if self._meta.facts.shared_gap:
            self._meta.record(shared_gap=False)

    async def publish(self) -> bool:
        """Publish what changed up to now; return whether there is more. Raises ObjectStoreError: it stays marked."""
        changes = await self._look()
        if changes.records:
            await self._write(changes)
        else:
            self._note(changes, [])
        self._is_joining &= self._shared_log.is_any_dirty()
        return self._shared_log.is_any_dirty()

    # -- what changed

    async def _look(self) -> _Changes:
        changes = _Changes()
        for number, (ino, generation) in enumerate(self._shared_log.dirty(_MOST_INODES), start=1):
            changes.marked.append((ino, generation))
            if self._compare(ino, changes):
                await self._mark_beneath(ino)
            if number % _A_TURN == 0:
                await trio.lowlevel.checkpoint()
        return changes

    def _compare(self, ino: int, changes: _Changes) -> bool:
        """Compare an inode with the map; return whether it is a folder that has another path than before."""
        now, before = self._tree_records.of(ino), self._shared_log.held(ino)
        for key, record in now.items():
            if self._is_news(key, record, ino):
                changes.records[key] = record
            changes.held[key] = ino
        for key in before:
            if key not in now:
                changes.released[key] = ino
                if self._is_gone(key) and key not in changes.records:
                    changes.records[key] = EntryRecord("gone")
        inode = self._tree.find(ino)
        return inode is not None and inode.is_dir and any(key not in now for key in before)

    def _is_news(self, key: str, record: Record, ino: int) -> bool:
        row = self._shared_log.find(key)
        if row is None:
            return not self._tree_records.is_plain(ino)
        return record != record_of(row) and not (self._is_joining and not row.applied)

    def _is_gone(self, key: str) -> bool:
        """Return whether a path has nothing any more, or only a file, which has a record of its own."""
        space, path = parse_key(key)
        inode = self._tree.resolve(path) if space == "e" else None
        return space == "e" and (inode is None or inode.is_file or bool(inode.implied))

    async def _mark_beneath(self, folder: int) -> None:
        """Mark all that lies in a folder that has another path now."""
        inos: list[int] = []
        for entry in self._tree.beneath(folder):
            inos.append(entry.ino)
            if len(inos) == _A_TURN:
                self._shared_log.mark(inos)
                inos.clear()
                await trio.lowlevel.checkpoint()
        self._shared_log.mark(inos)

    # -- the segment

    async def _write(self, changes: _Changes) -> None:
        facts = self._meta.facts
        if facts.shared_writer is None:
            self._meta.record(shared_writer=secrets.token_hex(_WRITER_BYTES))
        records = [
            (key, self._clock.next(above=self._records.hlc(key)), record) for key, record in changes.records.items()
        ]
        if await self._put(records):
            crashpoints.reached("shared log: the store has the segment")
            self._note(changes, records)

    async def _put(self, records: list[KeyedRecord]) -> bool:
        """Put the next segment; return whether it is there. If not, its place was taken, and the next is tried."""
        facts = self._meta.facts
        assert facts.shared_writer is not None
        writer, sequence, earlier = facts.shared_writer, facts.shared_sequence, facts.shared_attempt
        data = encode(Segment(writer=writer, sequence=sequence, is_snapshot=False, records=tuple(records)))
        # Invariant: on the disk before the first byte goes out.
        self._meta.record(shared_attempt=checksum(data), shared_hlc=self._clock.last)
        await self._db.durable()
        if await self._contents.create_segment(writer, sequence, data):
            return True
        there = await self._contents.segment(writer, sequence)
        if there == data:
            return True
        self._taken(writer, sequence, there, is_ours=earlier == checksum(there))
        return False

    def _taken(self, writer: str, sequence: int, there: bytes, *, is_ours: bool) -> None:
        """Go on after a segment whose reply was lost in an earlier run, or with another id if a copy writes, too."""
        with self._db.transaction():
            if is_ours:
                segment, _ = decode(there, writer=writer, sequence=sequence)
                self._records.merge(writer, list(segment.records), applied=True)
                self._meta.record(shared_sequence=sequence + 1, shared_attempt=None)
                return
            _log.warning("this state folder was copied, and the copy writes to the store too: taking a new writer id")
            self._shared_log.read_up_to(writer, 0)
            self._meta.record(
                shared_writer=secrets.token_hex(_WRITER_BYTES), shared_sequence=0, shared_attempt=None
            )  # fmt: skip

    def _note(self, changes: _Changes, records: list[KeyedRecord]) -> None:
        """Take what was published into the map, and the marks away."""
        with self._db.transaction():
            for key, ino in changes.released.items():
                if self._shared_log.holder(key) == ino:
                    self._shared_log.release(key)
            for key, ino in changes.held.items():
                self._shared_log.hold(key, ino)
            self._shared_log.clean(changes.marked)
            if records:
                facts = self._meta.facts
                assert facts.shared_writer is not None
                self._records.merge(facts.shared_writer, records, applied=True)
                self._meta.record(
                    shared_sequence=facts.shared_sequence + 1, shared_attempt=None, shared_hlc=self._clock.last
                )  # fmt: skip
