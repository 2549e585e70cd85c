"""Files that listings go on to show after their DELETE was answered: each gets another one, ever more rarely.

The service may list a deleted file for a while, and its row is a tombstone that hides it meanwhile. A file that is
listed for longer is still there: an answer of 404 was wrong, say, or a backup was played back. Without another DELETE
it would stay at the service for good, and hidden here.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from remotefs.backoff import backoff_s
from remotefs.data.intents.freed_ids import FreedIds
from remotefs.store.records import Remote
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# How long a deleted file may be listed before it is deleted again, and the longest to which that is doubled.
_PAUSE_S = (60.0, 86_400.0)
# Tombstones that are remembered. More are looked at in turns.
_MOST = 10_000


class _Listed(NamedTuple):
    """Since when (steady clock, ns) a tombstone is listed without a DELETE; how many more DELETEs it has had."""

    since_ns: int
    deletes: int


class Undeleted:
    """Owns since when which tombstone is listed though nothing is pending for it. A restart begins to count anew."""

    def __init__(self, store: Store, freed_ids: FreedIds, wakeup: Wakeup) -> None:
        self._journal = store.journal
        self._steady = store.steady
        self._freed_ids = freed_ids
        self._wakeup = wakeup
        self._listed: dict[str, _Listed] = {}

    def listed(self, tombstone: Remote) -> None:
        """Take note that a listing shows a tombstone, and have the file deleted if it has shown it for too long."""
        file_id, now_ns = tombstone.file_id, self._steady()
        before = self._listed.get(file_id)
        if self._journal.delete_of(file_id) is not None:
            if before is not None:
                self._listed[file_id] = before._replace(since_ns=now_ns)
        elif before is None:
            self._remember(file_id, now_ns)
        elif now_ns - before.since_ns >= backoff_s(*_PAUSE_S, before.deletes) * _NS:
            again = not self._journal.is_replaced(file_id)
            self._listed[file_id] = _Listed(now_ns, before.deletes + again)
            if again:
                self._delete_again(tombstone)

    def _remember(self, file_id: str, now_ns: int) -> None:
        if len(self._listed) >= _MOST:
            self._listed.clear()
        self._listed[file_id] = _Listed(now_ns, 0)

    def _delete_again(self, tombstone: Remote) -> None:
        _log.warning(
            "%s: the service still lists %s, which it was asked to delete; the request is sent again",
            tombstone.filename,
            tombstone.file_id,
        )
        self._freed_ids.free([tombstone.file_id])
        self._wakeup.set()
