"""Reads the logs of the other machines into the map (X3). Sequences are dense, so a listing that lags only delays."""

from __future__ import annotations

import logging
import math
from itertools import islice

import trio

from remotefs.data.share.contents import SharedContents
from remotefs.data.share.segments import decode
from remotefs.data.share.shared_records import SharedRecords
from remotefs.data.share.stamps import HybridClock
from remotefs.errors import ObjectMissing
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# Each machine costs a LIST request, so with more than this many new ones are looked for only this often.
_FEW_WRITERS, _WRITERS_EVERY_S = 4, 60.0
# So many records are taken in without a turn for other tasks (H8).
_A_TURN = 100


class LogReader:
    """Knows how far each log was read."""

    def __init__(self, store: Store, contents: SharedContents, records: SharedRecords, clock: HybridClock) -> None:
        self._db = store.database
        self._meta = store.meta
        self._shared_log = store.shared_log
        self._contents = contents
        self._records = records
        self._clock = clock
        self._listed_at = -math.inf
        # By writer the segment that cannot be read, which was told once.
        self._stuck: dict[str, int] = {}

    async def poll(self) -> None:
        """Read what the others have written since the last call. Raises ObjectStoreError."""
        await self._find_writers()
        for writer in list(self._shared_log.positions()):
            if writer != self._meta.facts.shared_writer:
                while await self._read_next(writer):
                    pass

    async def _find_writers(self) -> None:
        is_late = trio.current_time() - self._listed_at >= _WRITERS_EVERY_S
        if len(self._shared_log.positions()) > _FEW_WRITERS and not is_late:
            return
        for writer in await self._contents.writers():
            if writer not in self._shared_log.positions():
                self._shared_log.read_up_to(writer, 0)
        self._listed_at = trio.current_time()

    async def _read_next(self, writer: str) -> bool:
        """Read the next segment of a writer; return whether there was one."""
        sequence = self._shared_log.positions()[writer]
        try:
            data = await self._contents.segment(writer, sequence)
        except ObjectMissing:
            return False
        try:
            segment, reasons = decode(data, writer=writer, sequence=sequence)
        except ValueError as error:
            if self._stuck.get(writer) != sequence:
                _log.error("the log of machine %s in the shared store stops at segment %d: %s", writer, sequence, error)
            self._stuck[writer] = sequence
            return False
        for reason in islice(reasons, 10):
            _log.warning("machine %s: %s", writer, reason)
        records = list(segment.records)
        for first in range(0, len(records), _A_TURN):
            self._records.merge(writer, records[first : first + _A_TURN])
            await trio.lowlevel.checkpoint()
        newest = max((hlc for _, hlc, _ in records), default=0)
        if self._clock.heard(newest) < newest:
            _log.warning("machine %s dates its changes over a minute ahead of the service", writer)
        with self._db.transaction():
            self._shared_log.read_up_to(writer, sequence + 1)
            self._meta.record(shared_hlc=self._clock.last)
        return True
