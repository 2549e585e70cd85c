"""Reads the listings of the service: polls for new files, walks for all of them.

A poll reads the newest page, and further pages until one ends with a file that was there well before the last poll: a
large upload can appear below a newer known id. All times that are compared are the service's.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import trio

from remotefs.api.budget import Priority
from remotefs.api.models import Page
from remotefs.api.protocols import PageLister
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.config import RefreshConfig
from remotefs.data.reconcile.merge import Merger
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.removal import VanishedFiles
from remotefs.data.reconcile.timekeeping import Timekeeper
from remotefs.data.share.complete_listings import CompleteListings
from remotefs.store.store import Store

_NS = 1_000_000_000


@dataclass(frozen=True)
class ListingStatistics:
    """The figures of listings for `status`; times in seconds since the epoch, 0 for never."""

    polled_s: float
    walked_s: float
    known_files: int


class Listings:
    """Reads listings, has new files merged, and has missing ones counted and removed."""

    def __init__(
        self,
        store: Store,
        lister: PageLister,
        merger: Merger,
        vanished: VanishedFiles,
        poll_schedule: PollSchedule,
        config: RefreshConfig,
        clock: ServiceClock,
        timekeeper: Timekeeper,
        complete: CompleteListings,
    ) -> None:
        self._meta = store.meta
        self._remotes = store.remotes
        self._lister = lister
        self._merger = merger
        self._vanished = vanished
        self._poll_schedule = poll_schedule
        self._overlap_ns = int(config.poll_overlap_s * _NS)
        self._clock = clock
        self._steady = store.steady
        self._timekeeper = timekeeper
        self._complete = complete
        self._polled_ns = 0
        # One listing at a time: two that began together are one look at the service, not two that agree (S4), and one
        # that began before a person accepted removals must not hold them again (S1).
        self._reading = trio.Lock()
        # Whether the last poll was a complete listing: then no file has to be asked for by its id.
        self.shows_all = False

    @property
    def is_known(self) -> bool:
        """Return whether a listing was read since the mount began."""
        return self._polled_ns > 0

    @property
    def walked_ago_s(self) -> float:
        """Return the seconds since the last walk, by the steady clock."""
        return (self._steady() - self._meta.facts.walked_ns) / _NS

    async def walk(
        self, *, priority: Priority, report: Callable[[int], None] | None = None, accepted: bool = False
    ) -> None:
        """Read the whole listing; `accepted` overrules the guard against mass removal (S1).

        `report` is called with the number of files so far. Waits for a listing that is being read. Raises RefusedError,
        TransportError: pages that came before an error stay merged, and nothing is removed (S4).
        """
        async with self._reading:
            try:
                await self._walk(priority, report, accepted=accepted)
            except BaseException:
                self._complete.doubt()
                raise

    async def _walk(self, priority: Priority, report: Callable[[int], None] | None, *, accepted: bool) -> None:
        since_ns, began_ns = self._begin()
        aged_ns = self._timekeeper.aged_ns()
        listed: set[str] = set()
        is_whole = True
        async for page in self._lister.pages(priority=priority):
            await self._take(page)
            listed.update(page.ids)
            is_whole &= page.is_whole
            if report is not None:
                report(len(listed))
        if is_whole:
            await self._take_complete(since_ns, aged_ns, listed, accepted=accepted)
        else:  # an entry without an id may be one of the files that seem to be missing (S4)
            self._complete.doubt()
        await self._finish(began_ns, listed, walked=True, accepted=accepted)

    async def poll(self) -> None:
        """Read the newest pages. Waits and raises as walk() does."""
        async with self._reading:
            await self._poll()

    async def _poll(self) -> None:
        since_ns, began_ns = self._begin()
        aged_ns = self._timekeeper.aged_ns()
        horizon_ns = self._polled_at_ns() - self._overlap_ns
        pages = 0
        listed: set[str] = set()
        async for page in self._lister.pages(priority=Priority.POLL):
            pages += 1
            self._poll_schedule.note_request()
            await self._take(page)
            listed.update(page.ids)
            self.shows_all = pages == 1 and page.next_cursor is None and page.is_whole
            if self.shows_all:
                # A single page that is also the last is a complete listing (S4).
                await self._take_complete(since_ns, aged_ns, set(page.ids))
            elif not page.is_whole:
                self._complete.doubt()
            if page.ends_before(horizon_ns):
                break
        await self._finish(began_ns, listed, walked=False)

    async def _take(self, page: Page) -> None:
        await self._merger.merge(page.files)
        await self._complete.listed(page.ids)

    async def _take_complete(
        self, since_ns: int, aged_ns: int, listed: AbstractSet[str], *, accepted: bool = False
    ) -> None:
        """Have the missing ids counted and removed, and note the listing if it is believed."""
        if await self._vanished.after_complete_listing(since_ns, listed, accepted=accepted):
            self._complete.note(aged_ns)
        else:
            self._complete.doubt()

    def statistics(self) -> ListingStatistics:
        """Return the figures of now."""
        return ListingStatistics(
            self._wall_s(self._polled_ns), self._wall_s(self._meta.facts.walked_ns), self._remotes.known_count()
        )

    def _begin(self) -> tuple[int, int]:
        """Begin a listing: return what `expected_since_ns` is now, and the present time of the service (ns)."""
        self._merger.listing_begins()
        return self._vanished.expected_since_ns(), self._clock.now_ns()

    def _wall_s(self, steady_ns: int) -> float:
        """Return a moment of the steady clock in seconds since the epoch; 0 for never."""
        return self._steady.wall_ns_at(steady_ns) / _NS if steady_ns else 0.0

    def _polled_at_ns(self) -> int:
        """Return when the last listing began (ns, the service's clock); 0 if it lies in the future.

        A time in the future would hide the files that were uploaded before it.
        """
        polled_at_ns = self._meta.facts.polled_at_ns
        return polled_at_ns if polled_at_ns <= self._clock.now_ns() + AHEAD_NS else 0

    async def _finish(self, began_ns: int, listed: set[str], *, walked: bool, accepted: bool = False) -> None:
        """Do what follows each listing; this one began at `began_ns` (the service's clock) and showed `listed`."""
        now = self._steady()
        self._timekeeper.note()
        await self._vanished.remove_expired(listed, accepted=accepted)
        await self._merger.resolve_names()
        if walked:
            await self._vanished.empty_old_trash()
            self._meta.record(listed_ns=self._meta.facts.listed_ns or now, walked_ns=now, polled_at_ns=began_ns)
        elif began_ns - self._polled_at_ns() >= self._overlap_ns // 2:
            # Not after each poll: without it the next mount lists a little twice, which costs one request at most.
            self._meta.record(polled_at_ns=began_ns)
        self._polled_ns = now
