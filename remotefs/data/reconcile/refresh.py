"""When the service is listed: at the pace that use asks for, until the mount ends. No handler waits for it (A1)."""

from __future__ import annotations

import logging
import math

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
# The longest that it takes to notice that the machine was suspended.
_ALERT_S = 5.0
# What a clock may leave of a sleep.
_ROUNDING_S = 0.001
# A suspect that could not be looked for is suspected again at once.
_LEAST_PAUSE_S = 1.0


class Refresh:
    """Owns the loop; `bell` wakes it."""

    def __init__(
        self,
        listings: Listings,
        connectivity: Connectivity,
        config: RefreshConfig,
        poll_schedule: PollSchedule,
        existence_check: ExistenceCheck,
        reported_missing: ReportedMissing,
        bell: Wakeup,
    ) -> None:
        self._listings = listings
        self._connectivity = connectivity
        self._config = config
        self._poll_schedule = poll_schedule
        self._existence_check = existence_check
        self._reported_missing = reported_missing
        self._bell = bell

    def note_use(self) -> None:
        """The kernel asks: polls come often while it does, and at once when the last is old."""
        if self._poll_schedule.note_use():
            self._bell.set()

    def wake(self) -> None:
        """List as soon as may be."""
        self._bell.set()

    async def accept_removals(self) -> None:
        """List until what the guard held back is removed: a person has looked (S1). Raises as walk() does."""
        for _ in range(REQUIRED_LISTINGS):
            await self._connectivity.watch(lambda: self._listings.walk(priority=Priority.FIRST_LISTING, accepted=True))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and walk until cancelled."""
        self._poll_schedule.begin_pause()
        task_status.started()
        if self._listings.is_known:
            # The first listing is only just over. Else nothing is known of what happened since the last mount.
            await self._pause()
        while True:
            await self._round()
            await self._pause()

    async def _round(self) -> None:
        try:
            await self._connectivity.watch(self._refresh)
        except RemotefsError as error:
            _log.info("listing failed: %s", error)
        except Exception as error:  # noqa: BLE001 - nothing that the service says may end the mount
            _log.error("a listing failed in a way that nobody foresaw", exc_info=error)
        self._poll_schedule.begin_pause()

    async def _refresh(self) -> None:
        for file_id in self._reported_missing.take():
            try:
                await self._existence_check.look_for(file_id)
            except RemotefsError:
                self._reported_missing.report(file_id)
                raise
        if 0 <= self._listings.walked_ago_s < self._poll_schedule.walk_interval_s():
            await self._listings.poll()
        else:
            await self._listings.walk(priority=Priority.POLL)
        if not self._listings.shows_all:
            await self._existence_check.check_viewed()

    async def _pause(self) -> None:
        """Sleep until the next round.

        A wake from suspend and an answer after none end it early, and use after idling makes it shorter.
        """
        while (left := self._interval_s() - self._poll_schedule.paused_s) > _ROUNDING_S:
            was_unanswered = self._connectivity.unanswered is not None
            await self._bell.wait(min(left, _ALERT_S))
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
            return math.inf  # the probe asks, and rings when an answer came
        if not self._connectivity.is_up:
            return self._connectivity.retry_s
        return self._poll_schedule.interval_s()
