"""Publishes what changed here: the inodes that were marked, compared with the map, as one segment (X3).

    marked inodes ─► their records now ─► those that differ from the map ─► a segment in the store ─► the map

A folder that gets a thousand files is marked a thousand times and costs one record. A segment whose reply was lost is
known again by its checksum, which is on the disk before it goes out. A segment that is there and is none of ours means
that this state folder was copied, and that the copy writes too: then this one takes a new writer id. The same where the
copy has compacted the log meanwhile (`compaction`).
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field

import msgspec
import trio

from remotefs import crashpoints
from remotefs.data.content.chunks import checksum
from remotefs.data.share.log_objects import LogObjects
from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, Record, parse_key
from remotefs.data.share.segments import Name, Segment, decode, encode
from remotefs.data.share.shared_records import SharedRecords, record_of
from remotefs.data.share.stamps import HybridClock
from remotefs.data.share.tree_records import TreeRecords
from remotefs.errors import ObjectStoreDenied
from remotefs.store.meta import Snapshots
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
        logs: LogObjects,
        records: SharedRecords,
        tree_records: TreeRecords,
        clock: HybridClock,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._meta = store.meta
        self._shared_log: SharedLog = store.shared_log
        self._logs = logs
        self._records = records
        self._tree_records = tree_records
        self._clock = clock
        # Whether the map is preferred to what was marked at the start, see `join`.
        self._is_joining = False

    @property
    def is_joining(self) -> bool:
        """Return whether the tree is still compared with the map as a whole, as `join` asked for."""
        return self._is_joining

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
        if self._meta.facts.shared_attempt is not None:
            await self._find_attempt()
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
            if (news := self._news(key, record, ino)) is not None:
                changes.records[key] = news
            changes.held[key] = ino
        for key in before:
            if key not in now:
                changes.released[key] = ino
                if self._is_gone(key) and key not in changes.records:
                    changes.records[key] = EntryRecord("gone")
        inode = self._tree.find(ino)
        return inode is not None and inode.is_dir and any(key not in now for key in before)

    def _news(self, key: str, record: Record, ino: int) -> Record | None:
        """Return what is to be published of a record, None if the map says it already, or says what comes before it."""
        row = self._shared_log.find(key)
        if row is None:
            return None if self._tree_records.is_plain(ino) else record
        held = record_of(row)
        if isinstance(record, FileRecord) and record.digest is None and isinstance(held, FileRecord):
            # An id has one content, so the map may know the digest where this machine does not.
            record = msgspec.structs.replace(record, digest=held.digest)
        return record if record != held and not (self._is_joining and not row.applied) else None

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
        writer, name = facts.shared_writer, Name(facts.shared_sequence)
        data = encode(Segment(writer=writer, name=name, records=tuple(records)))
        # Invariant: on the disk before the first byte goes out.
        self._meta.record(shared_attempt=checksum(data), shared_hlc=self._clock.last)
        await self._db.durable()
        # A log that was compacted may lack the segment 0, which this one would put and then take for its base.
        is_free = name.sequence > 0 or not await self._logs.listed(writer, most_pages=1)
        if is_free and await self._create(writer, name, data) and not await self._is_compacted(writer):
            return True
        self.renounce()
        return False

    async def _create(self, writer: str, name: Name, data: bytes) -> bool:
        try:
            return await self._logs.create(writer, name, data)
        except ObjectStoreDenied:
            self._meta.record(shared_attempt=None)
            raise

    async def _is_compacted(self, writer: str) -> bool:
        """Return whether somebody else has compacted the log, so that a number may be free that was used before.

        Whoever removes segments begins with the object that the log began with. So if that one is there after a
        segment was created, its number had never been used.
        """
        base = self._meta.facts.shared_snapshots.base
        return await self._logs.is_gone(writer, Name(0) if base is None else Name(base, 0))

    async def _find_attempt(self) -> None:
        """Find out whether the store has a segment whose reply was lost, and take it into the map then.

        Otherwise a change that was undone meanwhile would be none here, and hold on the other machines.
        """
        facts = self._meta.facts
        assert facts.shared_writer is not None
        writer, name = facts.shared_writer, Name(facts.shared_sequence)
        if await self._logs.is_gone(writer, name):
            self._meta.record(shared_attempt=None)
            return
        there = await self._logs.get(writer, name)
        if checksum(there) != facts.shared_attempt or await self._is_compacted(writer):
            self.renounce()
            return
        segment, _ = decode(there, writer=writer, name=name)
        with self._db.transaction():
            self._records.merge(writer, list(segment.records), applied=True)
            self._meta.record(shared_sequence=name.sequence + 1, shared_attempt=None)

    def renounce(self) -> None:
        """Leave the log to the machine that writes it as well, read it as the others do, and begin another one."""
        _log.warning("this state folder was copied, and the copy writes to the store too: taking a new writer id")
        facts = self._meta.facts
        assert facts.shared_writer is not None
        with self._db.transaction():
            self._shared_log.read_up_to(facts.shared_writer, 0)
            self._meta.record(
                shared_writer=secrets.token_hex(_WRITER_BYTES), shared_sequence=0, shared_attempt=None,
                shared_snapshots=Snapshots(),
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
