"""The loop that polls and walks at the pace of the poll schedule. No kernel request waits for it (A1)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio

from remotefs.api.budget import Priority
from remotefs.api.connectivity import Connectivity
from remotefs.config import RefreshConfig
from remotefs.data.reconcile.existence_check import ExistenceCheck
from remotefs.data.reconcile.listing import Listings
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.removal import REQUIRED_LISTINGS
from remotefs.data.reconcile.reported_missing import ReportedMissing
from remotefs.errors import RemotefsError
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
# A suspension is noticed within this time.
_ALERT_S = 5.0
# A sleep may end this much early.
_ROUNDING_S = 0.001
# Readers may report one missing file after the other: wait this long before the next round.
_LEAST_PAUSE_S = 1.0


class Refresh:
    """Owns the loop; `wakeup` ends its pause. `on_use` is called when the mount is used again after an idle time."""

    def __init__(
        self,
        listings: Listings,
        connectivity: Connectivity,
        config: RefreshConfig,
        poll_schedule: PollSchedule,
        existence_check: ExistenceCheck,
        reported_missing: ReportedMissing,
        wakeup: Wakeup,
        on_use: Callable[[], None],
    ) -> None:
        self._listings = listings
        self._connectivity = connectivity
        self._config = config
        self._poll_schedule = poll_schedule
        self._existence_check = existence_check
        self._reported_missing = reported_missing
        self._wakeup = wakeup
        self._on_use = on_use

    def note_use(self) -> None:
        """Note a request of the kernel: polls come often while it sends some, and at once after an idle time."""
        if self._poll_schedule.note_use():
            self._wakeup.set()
            self._on_use()

    def wake(self) -> None:
        """List as soon as the schedule allows."""
        self._wakeup.set()

    async def accept_removals(self) -> None:
        """Walk twice without the guard, so that held removals happen: a person accepted them (S1). Raises as walk()."""
        for _ in range(REQUIRED_LISTINGS):
            await self._connectivity.watch(lambda: self._listings.walk(priority=Priority.FIRST_LISTING, accepted=True))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and walk until cancelled."""
        self._poll_schedule.begin_pause()
        task_status.started()
        if self._listings.is_known:
            # The first listing is just over. Otherwise nobody knows what happened since the last mount: list at once.
            await self._pause()
        while True:
            await self._round()
            await self._pause()

    async def _round(self) -> None:
        try:
            await self._connectivity.watch(self._refresh)
        except RemotefsError as error:
            _log.info("listing failed: %s", error)
        except Exception as error:  # noqa: BLE001 - no answer of the service may end the mount
            _log.error("a listing failed in a way that nobody foresaw", exc_info=error)
        self._poll_schedule.begin_pause()

    async def _refresh(self) -> None:
        self._existence_check.suspect(self._reported_missing.take())
        await self._existence_check.check_suspects()
        if 0 <= self._listings.walked_ago_s < self._poll_schedule.walk_interval_s():
            await self._listings.poll()
        else:
            await self._listings.walk(priority=Priority.POLL)
        if not self._listings.shows_all:
            await self._existence_check.check_viewed()

    async def _pause(self) -> None:
        """Sleep until the next round.

        The end of a suspension and the first answer after an outage end it early; use after an idle time shortens it.
        """
        while (left := self._interval_s() - self._poll_schedule.paused_s) > _ROUNDING_S:
            was_unanswered = self._connectivity.unanswered is not None
            await self._wakeup.wait(min(left, _ALERT_S))
            if self._poll_schedule.was_suspended and not self._connectivity.suspended:
                return
            if self._connectivity.unanswered is None and (was_unanswered or self._has_due_reports):
                return

    @property
    def _has_due_reports(self) -> bool:
        return bool(self._reported_missing) and self._poll_schedule.paused_s >= _LEAST_PAUSE_S

    def _interval_s(self) -> float:
        if self._connectivity.suspended:
            return self._config.poll_idle_s
        if self._connectivity.unanswered is not None:
            return math.inf  # Reconnect asks, and sets `wakeup` when an answer comes
        if not self._connectivity.is_up:
            return self._connectivity.retry_s
        return self._poll_schedule.interval_s()
