"""The map that all machines share, in memory: the model that the rows of a mount are compared with (X4)."""

from __future__ import annotations

from collections.abc import Iterable, KeysView

from remotefs.data.share.records import EntryRecord, KeyedRecord, Record
from remotefs.data.share.shared_records import is_later
from remotefs.data.share.stamps import Stamp


class SharedMap:
    """Holds the winning record of each key, with its stamp."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Stamp, Record]] = {}

    def merge(self, writer: str, records: Iterable[KeyedRecord]) -> set[str]:
        """Take in records of a writer; return the keys that have another record, or a later stamp, than before."""
        changed: set[str] = set()
        for key, hlc, record in records:
            stamp, held = Stamp(hlc, writer), self._held.get(key)
            if held is None or is_later(stamp, record, *held):
                self._held[key] = stamp, record
                changed.add(key)
        return changed

    def winner(self, key: str) -> Record | None:
        """Return the record that holds for a key; None where there is none."""
        held = self._held.get(key)
        return held[1] if held is not None else None

    def stamp(self, key: str) -> Stamp | None:
        """Return the stamp of the record that holds for a key; None where there is none."""
        held = self._held.get(key)
        return held[0] if held is not None else None

    def keys(self) -> KeysView[str]:
        """Return all keys that have a record, also those of tombstones."""
        return self._held.keys()

    def of_writer(self, writer: str) -> tuple[KeyedRecord, ...]:
        """Return the records of a writer that hold, in the order of their keys: what its snapshot has."""
        own = ((key, stamp.hlc, record) for key, (stamp, record) in self._held.items() if stamp.writer == writer)
        return tuple(sorted(own, key=lambda keyed: keyed[0]))

    def forget(self, keys: Iterable[str]) -> None:
        """Drop the records of some keys."""
        for key in keys:
            del self._held[key]

    def copy(self) -> SharedMap:
        """Return a map that goes on by itself."""
        other = SharedMap()
        other._held = dict(self._held)
        return other

    def forget_tombstones(self, before_hlc: int) -> set[str]:
        """Drop the tombstones stamped before a time; return their keys.

        An older record of such a key would count again if it came once more. So the time must lie before the one up to
        which every machine had heard of all others when it wrote its newest snapshot: from then on no log has an older
        record of these keys.
        """
        old = {
            key
            for key, (stamp, record) in self._held.items()
            if stamp.hlc < before_hlc and isinstance(record, EntryRecord) and record.kind == "gone"
        }
        for key in old:
            del self._held[key]
        return old
