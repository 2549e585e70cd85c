"""Reads the logs of the other machines into the map (X3). Sequences are dense, so a listing that lags only delays.

A poll asks for the next segment of each log. Whether a snapshot is the better way is looked up rarely: at the first
poll of a run, for a new machine, and once an hour. The segments that a snapshot stands for stay for days, so a reader
that polls all the time needs none; one that was away finds it at its first poll.
"""

from __future__ import annotations

import logging
import math
from itertools import islice

import trio

from remotefs.data.share.log_choice import is_beyond, snapshots_to_read
from remotefs.data.share.log_objects import LogObjects
from remotefs.data.share.segments import Name, Segment, is_writer
from remotefs.data.share.shared_records import SharedRecords
from remotefs.data.share.stamps import HybridClock
from remotefs.errors import ObjectMissing
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# Each machine costs a LIST request, so with more than this many new ones are looked for only this often.
_FEW_WRITERS, _WRITERS_EVERY_S = 4, 60.0
_LOOK_EVERY_S = 3600.0
# So many records are taken in without a turn for other tasks (H8).
_A_TURN = 100


class LogReader:
    """Knows how far each log was read."""

    def __init__(self, store: Store, logs: LogObjects, records: SharedRecords, clock: HybridClock) -> None:
        self._db = store.database
        self._meta = store.meta
        self._shared_log = store.shared_log
        self._logs = logs
        self._records = records
        self._clock = clock
        self._listed_at = -math.inf
        # By writer, when its log was last listed (trio's time).
        self._looked_at: dict[str, float] = {}
        # By writer, the objects that cannot be read, each of which was told once.
        self._told: dict[str, frozenset[Name]] = {}

    async def poll(self) -> None:
        """Read what the others have written since the last call. Raises ObjectStoreError."""
        await self._find_writers()
        for writer in list(self._shared_log.positions()):
            if writer != self._meta.facts.shared_writer:
                await self._read(writer)

    async def _find_writers(self) -> None:
        is_late = trio.current_time() - self._listed_at >= _WRITERS_EVERY_S
        if len(self._shared_log.positions()) > _FEW_WRITERS and not is_late:
            return
        for writer in await self._logs.writers():
            if is_writer(writer) and writer not in self._shared_log.positions():
                self._shared_log.read_up_to(writer, 0)
        self._listed_at = trio.current_time()

    async def _read(self, writer: str) -> None:
        """Read the news of one machine."""
        if trio.current_time() - self._looked_at.get(writer, -math.inf) >= _LOOK_EVERY_S:
            self._looked_at[writer] = trio.current_time()
            await self._look(writer)
        while await self._read_next(writer):
            pass

    async def _look(self, writer: str) -> None:
        """Look whether a snapshot is to be read: it costs less than segments, or these are gone."""
        position = self._shared_log.positions()[writer]
        listed = await self._logs.listed(writer, start=position)
        for sequence in snapshots_to_read(position, listed):
            if await self._read_snapshot(writer, sequence):
                return
        if is_beyond(position, listed):
            self._tell(writer, Name(position), "it is missing, and so is a snapshot that can be read")

    async def _read_snapshot(self, writer: str, sequence: int) -> bool:
        """Read a snapshot; return whether the log goes on after it."""
        try:
            await self._logs.read_snapshot(writer, sequence, self._take)
        except ValueError as error:
            self._tell(writer, Name(sequence, 0), str(error))
            return False
        self._read_up_to(writer, sequence + 1)
        return True

    async def _read_next(self, writer: str) -> bool:
        """Read the next segment of a writer; return whether there was one."""
        name = Name(self._shared_log.positions()[writer])
        try:
            segment, reasons = await self._logs.read(writer, name)
        except ObjectMissing:
            return False
        except ValueError as error:
            self._tell(writer, name, str(error))
            return False
        await self._take(segment, reasons)
        self._read_up_to(writer, name.sequence + 1)
        return True

    async def _take(self, segment: Segment, reasons: list[str]) -> None:
        """Take the records of a segment into the map."""
        writer, records = segment.writer, list(segment.records)
        for reason in islice(reasons, 10):
            _log.warning("machine %s: %s", writer, reason)
        for first in range(0, len(records), _A_TURN):
            self._records.merge(writer, records[first : first + _A_TURN])
            await trio.lowlevel.checkpoint()
        newest = max((hlc for _, hlc, _ in records), default=0)
        if self._clock.heard(newest) < newest:
            _log.warning("machine %s dates its changes over a minute ahead of the service", writer)

    def _read_up_to(self, writer: str, next_sequence: int) -> None:
        with self._db.transaction():
            self._shared_log.read_up_to(writer, next_sequence)
            self._meta.record(shared_hlc=self._clock.last)

    def _tell(self, writer: str, name: Name, reason: str) -> None:
        """Say once that an object of a log cannot be read."""
        if self._told.get(writer) != (told := self._told.get(writer, frozenset()) | {name}):
            self._told[writer] = told
            kind, verb = ("snapshot", "lacks its") if name.part is not None else ("segment", "stops at")
            _log.error(
                "the log of machine %s in the shared store %s %s %d: %s", writer, verb, kind, name.sequence, reason
            )
