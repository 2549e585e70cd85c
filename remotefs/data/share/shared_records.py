"""The map that all machines of an account share, as rows: for each key the record with the latest stamp (X4).

Invariant: for each key the map has the greatest record of all that it met, by stamp and, should a writer have used one
stamp twice, by the record's bytes. A maximum is commutative, associative and idempotent: machines that met the same
records, in whatever order, as often as it may be, have the same map.
"""

from __future__ import annotations

import msgspec

from remotefs.data.share.records import EntryRecord, FileRecord, KeyedRecord, Record, canonical
from remotefs.data.share.stamps import Stamp
from remotefs.store.database import Database
from remotefs.store.shared_log import SharedLog, SharedRow

_decode_file = msgspec.msgpack.Decoder(FileRecord).decode
_decode_entry = msgspec.msgpack.Decoder(EntryRecord).decode


class SharedRecords:
    """Reads the map, and takes records into it."""

    def __init__(self, database: Database, log: SharedLog) -> None:
        self._db = database
        self._log = log

    def hlc(self, key: str) -> int:
        """Return the time in the stamp of a key's record; 0 where there is none."""
        row = self._log.find(key)
        return 0 if row is None else row.hlc

    def merge(self, writer: str, records: list[KeyedRecord], *, applied: bool = False) -> None:
        """Take in records of a writer; `applied`: they are what the tree has already."""
        with self._db.transaction():
            for key, hlc, record in records:
                row = self._log.find(key)
                if row is None or is_later(Stamp(hlc, writer), record, Stamp(row.hlc, row.writer), record_of(row)):
                    self._log.put(SharedRow(key, hlc, writer, canonical(record), int(applied)))


def record_of(row: SharedRow) -> Record:
    """Return the record of a row."""
    return _decode_file(row.record) if row.key.startswith("f/") else _decode_entry(row.record)


def is_later(stamp: Stamp, record: Record, held_stamp: Stamp, held: Record) -> bool:
    """Return whether a record takes the place of one that is held."""
    if stamp != held_stamp:
        return stamp > held_stamp
    return record != held and canonical(record) > canonical(held)
