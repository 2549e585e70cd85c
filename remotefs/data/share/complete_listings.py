"""What the listings of this run have shown, for the janitor: it deletes only what two complete ones lack (X6).

Times are counted ones (`Timekeeper.aged_ns`), each the last that was counted before the listing began, so that no
listing seems later than it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from remotefs.store.database import Database
from remotefs.store.orphans import Orphans

# Ids that are looked up at one time: less than a millisecond of work.
_IDS = 250


@dataclass(frozen=True)
class LastTwo:
    """When the last complete listing began, and the one before it: counted times in ns."""

    last_ns: int
    before_ns: int


class CompleteListings:
    """Owns the times of the complete listings that were believed; of an earlier run it knows none."""

    def __init__(self, database: Database, orphans: Orphans) -> None:
        self._db = database
        self._orphans = orphans
        self._began_ns: tuple[int, ...] = ()

    def last_two(self) -> LastTwo | None:
        """Return the times of the last two, None while there are not two that follow each other."""
        return LastTwo(self._began_ns[1], self._began_ns[0]) if len(self._began_ns) > 1 else None

    def note(self, began_ns: int) -> None:
        """Note a complete listing that is believed."""
        self._began_ns = (*self._began_ns[-1:], began_ns)

    def doubt(self) -> None:
        """Note a listing that failed, was not whole, or is not believed: those before it do not count any more."""
        self._began_ns = ()

    async def listed(self, file_ids: Sequence[str]) -> None:
        """Forget that files are gone which a page has, also those that are not shown."""
        if not self._orphans.is_any():
            return
        for first in range(0, len(file_ids), _IDS):
            self._orphans.listed(file_ids[first : first + _IDS])
            await self._db.between_batches()
