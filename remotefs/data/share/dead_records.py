"""Drops the records of files that are gone for good, which the map would keep for ever (X3).

A record of a file has no tombstone: it dies with its id, and the service gives no id twice. (If it did, the file would
have plain attributes on the machines that had dropped its record.) A file is gone for this purpose if its record is a
month old and two complete listings lacked it that began after it was missed first (S4). Records of files that the
listing has not shown yet are young, or are found in it.
"""

from __future__ import annotations

import trio

from remotefs.clocks import DAY_NS
from remotefs.store.store import Store

_MONTH_NS = 30 * DAY_NS
# The rows that are looked at, and the ones that are dropped, without a turn for other tasks (H8).
_A_TURN, _A_DROP = 500, 50
# As many are missed at once; the others come later.
_MOST_MISSED = 100_000
# A file is missed at one look. The listing that ended before the second look may have begun before the first; those
# before the third and the fourth began after it.
_LOOKS = 4


class DeadRecords:
    """Knows which files are missed. Tells nobody else: each machine drops them from its own map."""

    def __init__(self, store: Store) -> None:
        self._meta = store.meta
        self._shared_log = store.shared_log
        # By key, the number of looks in a row at which the file was missing.
        self._missed: dict[str, int] = {}
        self._walked_ns: int | None = None

    async def forget(self) -> None:
        """Look for files that are gone, once after each complete listing; drop the records of those gone for good."""
        facts = self._meta.facts
        if facts.walked_ns == self._walked_ns:
            return
        self._walked_ns = facts.walked_ns
        # The map is dated by the service's clock, as the stamps that this machine gave or heard of.
        before_hlc = facts.shared_hlc - _MONTH_NS
        self._missed = await self._look(before_hlc)
        gone = [key for key, looks in self._missed.items() if looks >= _LOOKS]
        for first in range(0, len(gone), _A_DROP):
            self._shared_log.forget_files(gone[first : first + _A_DROP], before_hlc=before_hlc)
            await trio.lowlevel.checkpoint()

    async def _look(self, before_hlc: int) -> dict[str, int]:
        found: dict[str, int] = {}
        after = ""
        while (rows := self._shared_log.files(_A_TURN, after=after)) and len(found) < _MOST_MISSED:
            after = rows[-1][0]
            for key, hlc, is_known in rows:
                if hlc < before_hlc and not is_known:
                    found[key] = self._missed.get(key, 0) + 1
            await trio.lowlevel.checkpoint()
        return found
