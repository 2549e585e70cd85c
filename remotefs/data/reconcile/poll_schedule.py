"""When the service is listed next (A2, A4): seconds apart in use, minutes apart when idle, within a share of the limit.

Time is trio's, which stands still while the machine is suspended. The steady clock goes on: the difference of the two
shows that the machine was suspended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from remotefs.config import RefreshConfig

_NS = 1_000_000_000
# The files on one page of the listing. A walk takes one request a page.
_PAGE_FILES = 1000
# The part of the share that walks may take: for a very large account they come less often than the settings say.
_WALKS_SHARE = 0.5
# A suspension shorter than this does not matter.
_SUSPENDED_S = 30.0


class Limit(Protocol):
    """The request limit, as the budget has learned it."""

    @property
    def limit_per_minute(self) -> float | None:
        """Return the limit in requests a minute; None if there is none."""
        ...


class PollSchedule:
    """Computes the interval between listings from the use of the mount and from the requests of the last round.

    `steady` returns ns that go on while the machine is suspended, `known_files` the number of files that a walk lists.
    """

    def __init__(
        self, limit: Limit, config: RefreshConfig, steady: Callable[[], int], known_files: Callable[[], int]
    ) -> None:
        self._limit = limit
        self._config = config
        self._steady = steady
        self._known_files = known_files
        self._used_at = trio.current_time()
        # The requests of the last round: after many uploads elsewhere a poll takes more than one.
        self._spent = 1
        self._asked = 0
        self._pause_began = (trio.current_time(), steady())

    def note_use(self) -> bool:
        """Note that the mount is used; return whether it was idle before."""
        was_idle = self.is_idle
        self._used_at = trio.current_time()
        return was_idle

    @property
    def is_idle(self) -> bool:
        """Return whether nobody has used the mount for `idle_after_s`."""
        return trio.current_time() - self._used_at > self._config.idle_after_s

    def note_request(self) -> None:
        """Count one request of this round. Requests of walks are not counted: they have a part of their own."""
        self._asked += 1

    def begin_pause(self) -> None:
        """Note that a round is over and the pause begins."""
        self._spent, self._asked = max(self._asked, 1), 0
        self._pause_began = (trio.current_time(), self._steady())

    @property
    def paused_s(self) -> float:
        """Return the seconds since the pause began, without suspended time."""
        return trio.current_time() - self._pause_began[0]

    @property
    def was_suspended(self) -> bool:
        """Return whether the machine was suspended since the pause began."""
        return (self._steady() - self._pause_began[1]) / _NS - self.paused_s > _SUSPENDED_S

    def wanted_s(self) -> float:
        """Return how many seconds apart polls should be by the use of the mount, whatever requests are left."""
        return self._config.poll_idle_s if self.is_idle else self._config.poll_in_use_s

    def interval_s(self) -> float:
        """Return the length of the pause in seconds, as things stand now."""
        wanted = self.wanted_s()
        share = self._share_per_minute()
        if share is None:
            return wanted
        left_by_walks = share - 60 * self._walk_requests() / self.walk_interval_s()
        return max(wanted, 60 * self._spent / left_by_walks)

    def walk_interval_s(self) -> float:
        """Return the seconds from one walk to the next."""
        share = self._share_per_minute()
        least = 0.0 if share is None else 60 * self._walk_requests() / (share * _WALKS_SHARE)
        return max(self._config.walk_every_s, least)

    def _share_per_minute(self) -> float | None:
        limit = self._limit.limit_per_minute
        return None if limit is None else limit * self._config.budget_fraction

    def _walk_requests(self) -> int:
        return self._known_files() // _PAGE_FILES + 1
