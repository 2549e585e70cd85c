"""Reading the service's listings: polls for what is new, walks for the whole.

A poll reads the newest page and goes on until it is well past what the last poll saw, for a large upload can appear
below a newer known id. All times that are compared are the service's; one in its future says nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata, Page
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.config import RefreshConfig
from remotefs.data.cadence import Cadence
from remotefs.data.merging import Merger
from remotefs.data.removal import Remover
from remotefs.data.timekeeping import Timekeeper
from remotefs.store.store import Store

_NS = 1_000_000_000


class Lister(Protocol):
    """The one method of the API client that is needed here."""

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        """The whole listing, newest first."""
        ...


@dataclass(frozen=True)
class ListingStatistics:
    """What `status` shows of listings; seconds since the epoch, 0 for never."""

    polled_s: float
    walked_s: float
    known_files: int


class Listings:
    """Adds what is new, removes what is gone; `wall` tells our time in ns since the epoch, for `status` alone."""

    def __init__(
        self,
        store: Store,
        lister: Lister,
        merger: Merger,
        remover: Remover,
        cadence: Cadence,
        config: RefreshConfig,
        clock: ServiceClock,
        timekeeper: Timekeeper,
        wall: Callable[[], int],
    ) -> None:
        self._meta = store.meta
        self._remotes = store.remotes
        self._lister = lister
        self._merger = merger
        self._remover = remover
        self._cadence = cadence
        self._overlap_ns = int(config.poll_overlap_s * _NS)
        self._clock = clock
        self._steady = store.steady
        self._timekeeper = timekeeper
        self._wall = wall
        self._polled_ns = 0
        # Whether the last poll was a complete listing: then nothing has to be asked for by its id.
        self.shows_all = False

    @property
    def is_known(self) -> bool:
        """Whether one was read since the mount began."""
        return self._polled_ns > 0

    @property
    def walked_ago_s(self) -> float:
        """Since the last walk, by the steady clock."""
        return (self._steady() - self._meta.facts.walked_ns) / _NS

    async def walk(
        self, *, priority: Priority, report: Callable[[int], None] | None = None, accepted: bool = False
    ) -> None:
        """Read the whole listing; `accepted` overrules the guard against mass removal (S1).

        Raises RefusedError, TransportError; what came before an error stays added, and nothing is removed for it (S4).
        """
        known = self._remover.known_before(self._steady())
        listed: set[str] = set()
        newest_ns = self._polled_to_ns()
        async for page in self._lister.pages(priority=priority):
            newest_ns = self._newest_ns(newest_ns, page.files)
            await self._merger.merge(page.files)
            listed.update(file.id for file in page.files)
            if report is not None:
                report(len(listed))
        await self._remover.after_complete_listing(known, listed, accepted=accepted)
        await self._finish(newest_ns, walked=True, accepted=accepted)

    async def poll(self) -> None:
        """Read what is new. Raises as walk() does."""
        known = self._remover.known_before(self._steady())
        newest_ns = self._polled_to_ns()
        horizon_ns = newest_ns - self._overlap_ns
        pages = 0
        async for page in self._lister.pages(priority=Priority.POLL):
            pages += 1
            self._cadence.note_request()
            newest_ns = self._newest_ns(newest_ns, page.files)
            await self._merger.merge(page.files)
            self.shows_all = pages == 1 and page.next_cursor is None
            if self.shows_all:
                # A single page that is also the last is a complete listing (S4).
                await self._remover.after_complete_listing(known, {file.id for file in page.files})
            if page.files and page.files[-1].created_ns < horizon_ns:
                break
        await self._finish(newest_ns, walked=False)

    def statistics(self) -> ListingStatistics:
        """A record of now."""
        return ListingStatistics(
            self._wall_s(self._polled_ns), self._wall_s(self._meta.facts.walked_ns), self._remotes.known_count()
        )

    def _wall_s(self, steady_ns: int) -> float:
        """Return a moment of the steady clock as people call it."""
        return (self._wall() - self._steady() + steady_ns) / _NS if steady_ns else 0.0

    def _polled_to_ns(self) -> int:
        """Return up to where the last poll saw; nothing is known of a place that lies in the future."""
        polled_to_ns = self._meta.facts.polled_to_ns
        return polled_to_ns if polled_to_ns <= self._clock.now_ns() + AHEAD_NS else 0

    def _newest_ns(self, newest_ns: int, files: Iterable[FileMetadata]) -> int:
        """Return the newest time of creation that can be true: one from the future would hide what comes after it."""
        latest_ns = self._clock.now_ns() + AHEAD_NS
        return max([newest_ns, *(file.created_ns for file in files if file.created_ns <= latest_ns)])

    async def _finish(self, newest_ns: int, *, walked: bool, accepted: bool = False) -> None:
        now = self._steady()
        self._timekeeper.note()
        await self._remover.remove_expired(accepted=accepted)
        self._merger.settle_names()
        if walked:
            self._remover.empty_old_trash()
            self._meta.record(listed_ns=self._meta.facts.listed_ns or now, walked_ns=now, polled_to_ns=newest_ns)
        elif newest_ns != self._meta.facts.polled_to_ns:
            self._meta.record(polled_to_ns=newest_ns)
        self._polled_ns = now
