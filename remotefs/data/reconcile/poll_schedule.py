"""When the service is listed next (A2, A4): seconds apart in use, minutes apart when idle, within a share of the limit.

Time is trio's, which stands still while the machine is suspended. The steady clock does not, and so tells that it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from remotefs.config import RefreshConfig

_NS = 1_000_000_000
# A page of the listing; a walk takes as many requests as there are such pages.
_PAGE_FILES = 1000
# The part of the share that walks may take: of a very large account they come less often than the settings say.
_WALKS_SHARE = 0.5
# By this much the steady clock is ahead when the machine was suspended for long enough that it matters.
_SUSPENDED_S = 30.0


class Limit(Protocol):
    """What the budget tells."""

    @property
    def limit_per_minute(self) -> float | None:
        """The learned limit; None for none."""
        ...


class PollSchedule:
    """Turns use and what was spent into intervals.

    `steady` gives ns that go on while the machine is suspended, `known_files` how many files a walk lists.
    """

    def __init__(
        self, limit: Limit, config: RefreshConfig, steady: Callable[[], int], known_files: Callable[[], int]
    ) -> None:
        self._limit = limit
        self._config = config
        self._steady = steady
        self._known_files = known_files
        self._used_at = trio.current_time()
        # Requests of the last round; after many uploads elsewhere, a poll is more than one.
        self._spent = 1
        self._asked = 0
        self._pause_began = (trio.current_time(), steady())

    def note_use(self) -> bool:
        """The mount is being used; whether that ends an idle time."""
        was_idle = self.is_idle
        self._used_at = trio.current_time()
        return was_idle

    @property
    def is_idle(self) -> bool:
        """Whether nobody has used the mount for a while."""
        return trio.current_time() - self._used_at > self._config.idle_after_s

    def note_request(self) -> None:
        """One more was sent in this round; those of walks, which have a part of their own, are not told."""
        self._asked += 1

    def begin_pause(self) -> None:
        """A round is over."""
        self._spent, self._asked = max(self._asked, 1), 0
        self._pause_began = (trio.current_time(), self._steady())

    @property
    def paused_s(self) -> float:
        """Since the pause began, suspended time not counted."""
        return trio.current_time() - self._pause_began[0]

    @property
    def was_suspended(self) -> bool:
        """Whether the machine was, since the pause began."""
        return (self._steady() - self._pause_began[1]) / _NS - self.paused_s > _SUSPENDED_S

    def interval_s(self) -> float:
        """How long the pause is to be, as things stand."""
        wanted = self._config.poll_idle_s if self.is_idle else self._config.poll_in_use_s
        share = self._share_per_minute()
        if share is None:
            return wanted
        left_by_walks = share - 60 * self._walk_requests() / self.walk_interval_s()
        return max(wanted, 60 * self._spent / left_by_walks)

    def walk_interval_s(self) -> float:
        """From one walk to the next."""
        share = self._share_per_minute()
        least = 0.0 if share is None else 60 * self._walk_requests() / (share * _WALKS_SHARE)
        return max(self._config.walk_every_s, least)

    def _share_per_minute(self) -> float | None:
        limit = self._limit.limit_per_minute
        return None if limit is None else limit * self._config.budget_fraction

    def _walk_requests(self) -> int:
        return self._known_files() // _PAGE_FILES + 1
