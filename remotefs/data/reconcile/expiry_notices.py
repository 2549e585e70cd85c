"""Files that are about to expire: the log tells of each a day before, and `status` counts them (M3).

The index by expiry has them in order, so no look reads more rows than it tells of. Up to which expiry the log has told
is kept with the state folder: each file is told of once, over remounts too. A file that had less than a day left when
it became known is only counted.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from remotefs.clocks import ServiceClock
from remotefs.data.intents.paths import InodePaths
from remotefs.errors import LocalError
from remotefs.store.records import Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
_AHEAD_NS = 86_400 * _NS
# The most lines of one look; the files beyond are told of in one line together.
_MOST_TOLD = 100
# A count ends here.
COUNTED = 10_000


@dataclass(frozen=True)
class Expiring:
    """The number of files that expire within a day (COUNTED: or more), and the first of them with its time in ns."""

    count: int
    path: str = ""
    at_ns: int = 0


class ExpiryNotices:
    """Finds the shown files that expire within a day by the service's clock."""

    def __init__(self, store: Store, paths: InodePaths, clock: ServiceClock) -> None:
        self._meta = store.meta
        self._tree = store.tree
        self._remotes = store.remotes
        self._paths = paths
        self._clock = clock

    def soon(self) -> Expiring:
        """Return how many files expire within a day, and which is the first."""
        now_ns = self._clock.now_ns()
        first = self._remotes.expiring(now_ns, now_ns + _AHEAD_NS, limit=1)
        if not first:
            return Expiring(0)
        count = self._remotes.expiring_count(now_ns, now_ns + _AHEAD_NS, at_most=COUNTED)
        return Expiring(count, self._path(first[0]), first[0].expires_ns or 0)

    def look(self) -> None:
        """Log a warning for each file that has come to have less than a day. Does nothing while the clock is unsure."""
        if not self._clock.is_sure:
            return
        now_ns = self._clock.now_ns()
        told_ns, until_ns = max(self._meta.facts.expiry_told_ns, now_ns), now_ns + _AHEAD_NS
        files = self._remotes.expiring(told_ns, until_ns, limit=_MOST_TOLD)
        if not files:
            return
        for file in files:
            _log.warning("%s expires at %s: the service then drops it", self._path(file), _moment(file.expires_ns or 0))
        more = self._remotes.expiring_count(told_ns, until_ns, at_most=COUNTED) - len(files)
        if more > 0:
            _log.warning("%s more files expire by %s", f"{more:,}", _moment(until_ns))
        with suppress(LocalError):  # they are told of once more
            self._meta.record(expiry_told_ns=until_ns)

    def _path(self, remote: Remote) -> str:
        inode = self._tree.find(remote.ino) if remote.ino is not None else None
        return self._paths.shown(inode) if inode is not None else remote.filename


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // _NS, UTC).astimezone().isoformat(sep=" ", timespec="minutes")
