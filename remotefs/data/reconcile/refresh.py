"""When the service is listed: at the pace that use asks for, until the mount ends. No handler waits for it (A1)."""

from __future__ import annotations

import logging
import math

import trio

from remotefs.api.budget import Priority
from remotefs.api.connectivity import Link
from remotefs.config import RefreshConfig
from remotefs.data.reconcile.existence_check import Lookout
from remotefs.data.reconcile.listing import Listings
from remotefs.data.reconcile.poll_schedule import Cadence
from remotefs.data.reconcile.removal import REQUIRED_LISTINGS
from remotefs.data.reconcile.reported_missing import Suspects
from remotefs.errors import RemotefsError
from remotefs.wakeup import Doorbell

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
        link: Link,
        config: RefreshConfig,
        cadence: Cadence,
        lookout: Lookout,
        suspects: Suspects,
        bell: Doorbell,
    ) -> None:
        self._listings = listings
        self._link = link
        self._config = config
        self._cadence = cadence
        self._lookout = lookout
        self._suspects = suspects
        self._bell = bell

    def note_use(self) -> None:
        """The kernel asks: polls come often while it does, and at once when the last is old."""
        if self._cadence.note_use():
            self._bell.ring()

    def nudge(self) -> None:
        """List as soon as may be."""
        self._bell.ring()

    async def accept_removals(self) -> None:
        """List until what the guard held back is removed: a person has looked (S1). Raises as walk() does."""
        for _ in range(REQUIRED_LISTINGS):
            await self._link.watch(lambda: self._listings.walk(priority=Priority.FIRST_LISTING, accepted=True))

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and walk until cancelled."""
        self._cadence.begin_pause()
        task_status.started()
        if self._listings.is_known:
            # The first listing is only just over. Else nothing is known of what happened since the last mount.
            await self._pause()
        while True:
            await self._round()
            await self._pause()

    async def _round(self) -> None:
        try:
            await self._link.watch(self._refresh)
        except RemotefsError as error:
            _log.info("listing failed: %s", error)
        except Exception as error:  # noqa: BLE001 - nothing that the service says may end the mount
            _log.error("a listing failed in a way that nobody foresaw", exc_info=error)
        self._cadence.begin_pause()

    async def _refresh(self) -> None:
        for file_id in self._suspects.take():
            try:
                await self._lookout.look_for(file_id)
            except RemotefsError:
                self._suspects.report(file_id)
                raise
        if 0 <= self._listings.walked_ago_s < self._cadence.walk_interval_s():
            await self._listings.poll()
        else:
            await self._listings.walk(priority=Priority.POLL)
        if not self._listings.shows_all:
            await self._lookout.look_at_view()

    async def _pause(self) -> None:
        """Sleep until the next round.

        A wake from suspend and an answer after none end it early, and use after idling makes it shorter.
        """
        while (left := self._interval_s() - self._cadence.paused_s) > _ROUNDING_S:
            was_unanswered = self._link.unanswered is not None
            await self._bell.wait(min(left, _ALERT_S))
            if self._cadence.was_suspended and not self._link.suspended:
                return
            if self._link.unanswered is None and (was_unanswered or self._has_due_suspects):
                return

    @property
    def _has_due_suspects(self) -> bool:
        return bool(self._suspects) and self._cadence.paused_s >= _LEAST_PAUSE_S

    def _interval_s(self) -> float:
        if self._link.suspended:
            return self._config.poll_idle_s
        if self._link.unanswered is not None:
            return math.inf  # the probe asks, and rings when an answer came
        if not self._link.is_up:
            return self._link.retry_s
        return self._cadence.interval_s()
