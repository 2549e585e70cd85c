"""Reading the service's listings: polls for what is new, walks for the whole.

A poll reads the newest page and goes on until a page ends with a file that was there well before the last poll: a large
upload can appear below a newer known id. All times that are compared are the service's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from remotefs.api.budget import Priority
from remotefs.api.models import Page
from remotefs.config import RefreshConfig
from remotefs.data.cadence import Cadence
from remotefs.data.merging import Merger
from remotefs.data.removal import Remover
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
    """`server_clock` tells the service's time and `wall` ours, both in ns since the epoch."""

    def __init__(
        self,
        store: Store,
        lister: Lister,
        merger: Merger,
        remover: Remover,
        cadence: Cadence,
        config: RefreshConfig,
        server_clock: Callable[[], int],
        wall: Callable[[], int],
    ) -> None:
        self._meta = store.meta
        self._remotes = store.remotes
        self._lister = lister
        self._merger = merger
        self._remover = remover
        self._cadence = cadence
        self._overlap_ns = int(config.poll_overlap_s * _NS)
        self._server_clock = server_clock
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
        """Since the last walk; below 0 where the clock was set back."""
        return (self._wall() - self._meta.facts.walked_ns) / _NS

    async def walk(
        self, *, priority: Priority, report: Callable[[int], None] | None = None, accepted: bool = False
    ) -> None:
        """Read the whole listing; `accepted` overrules the guard against mass removal (S1).

        Raises RefusedError, TransportError; what came before an error stays added, and nothing is removed for it (S4).
        """
        known, began_ns = self._remover.known_before(self._wall()), self._server_clock()
        listed: set[str] = set()
        async for page in self._lister.pages(priority=priority):
            await self._merger.merge(page.files)
            listed.update(file.id for file in page.files)
            if report is not None:
                report(len(listed))
        await self._remover.after_complete_listing(known, listed, accepted=accepted)
        await self._finish(began_ns, walked=True)

    async def poll(self) -> None:
        """Read what is new. Raises as walk() does."""
        known, began_ns = self._remover.known_before(self._wall()), self._server_clock()
        horizon_ns = self._meta.facts.polled_at_ns - self._overlap_ns
        pages = 0
        async for page in self._lister.pages(priority=Priority.POLL):
            pages += 1
            self._cadence.note_request()
            await self._merger.merge(page.files)
            self.shows_all = pages == 1 and page.next_cursor is None
            if self.shows_all:
                # A single page that is also the last is a complete listing (S4).
                await self._remover.after_complete_listing(known, {file.id for file in page.files})
            if page.files and page.files[-1].created_ns < horizon_ns:
                break
        await self._finish(began_ns, walked=False)

    def statistics(self) -> ListingStatistics:
        """A record of now."""
        return ListingStatistics(self._polled_ns / _NS, self._meta.facts.walked_ns / _NS, self._remotes.known_count())

    async def _finish(self, began_ns: int, *, walked: bool) -> None:
        """A listing that began at `began_ns` (the service's clock) was read."""
        now = self._wall()
        await self._remover.remove_expired(self._server_clock())
        self._merger.settle_names()
        if walked:
            self._remover.empty_old_trash()
            self._meta.record(listed_ns=self._meta.facts.listed_ns or now, walked_ns=now, polled_at_ns=began_ns)
        elif began_ns - self._meta.facts.polled_at_ns >= self._overlap_ns // 2:
            # Not for each poll: what a later start lists twice costs a request more at most.
            self._meta.record(polled_at_ns=began_ns)
        self._polled_ns = now
