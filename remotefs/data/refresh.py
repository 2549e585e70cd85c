"""Listing the service into the tree: polls for what is new, walks for the whole. No handler ever waits for it (A1).

A poll reads the newest page and goes on until it is well past what the last poll saw, for a large upload can appear
below a newer known id. All times that are compared are the service's.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import trio

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata, Page
from remotefs.config import RefreshConfig
from remotefs.data.cadence import Cadence
from remotefs.data.doorbell import Doorbell
from remotefs.data.link import Link
from remotefs.data.lookout import Lookout
from remotefs.data.placing import Placer
from remotefs.data.removal import REQUIRED_LISTINGS, Remover
from remotefs.data.suspects import Suspects
from remotefs.errors import RemotefsError
from remotefs.store.records import Origin, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Rows that are put into the tree between two turns of the event loop: some 10 ms of work.
_BATCH = 100
# The longest that it takes to notice that the machine was suspended.
_ALERT_S = 5.0
# What a clock may leave of a sleep.
_ROUNDING_S = 0.001
# A suspect that could not be looked for is suspected again at once.
_LEAST_PAUSE_S = 1.0


class Lister(Protocol):
    """The one method of the API client that is needed here."""

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        """The whole listing, newest first."""
        ...


@dataclass(frozen=True)
class RefreshStatistics:
    """What `status` shows of listings; seconds since the epoch, 0 for never."""

    polled_s: float
    walked_s: float
    known_files: int


class Refresh:
    """Merges listings into the tree.

    `folder_is_open` tells which folders keep their twins' spellings for now (N3), `server_clock` the service's time and
    `wall` ours, both in ns since the epoch; `bell` wakes it.
    """

    def __init__(
        self,
        store: Store,
        placer: Placer,
        lister: Lister,
        link: Link,
        config: RefreshConfig,
        folder_is_open: Callable[[int], bool],
        remover: Remover,
        server_clock: Callable[[], int],
        wall: Callable[[], int],
        cadence: Cadence,
        lookout: Lookout,
        suspects: Suspects,
        bell: Doorbell,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._meta = store.meta
        self._placer = placer
        self._lister = lister
        self._link = link
        self._config = config
        self._folder_is_open = folder_is_open
        self._remover = remover
        self._server_clock = server_clock
        self._wall = wall
        self._cadence = cadence
        self._lookout = lookout
        self._suspects = suspects
        self._bell = bell
        self._polled_ns = 0
        # Whether the last poll was a complete listing: then nothing has to be asked for by its id.
        self._poll_shows_all = False

    # -- what others tell

    def note_use(self) -> None:
        """The kernel asks: polls come often while it does, and at once when the last is old."""
        if self._cadence.note_use():
            self._bell.ring()

    def nudge(self) -> None:
        """List as soon as may be."""
        self._bell.ring()

    # -- listing

    async def walk(
        self, *, priority: Priority, report: Callable[[int], None] | None = None, accepted: bool = False
    ) -> None:
        """Read the whole listing; `accepted` overrules the guard against mass removal (S1).

        Raises RefusedError, TransportError; what came before an error stays added, and nothing is removed for it (S4).
        """
        known = self._remover.known_before(self._wall())
        listed: set[str] = set()
        newest_ns = self._meta.facts.polled_to_ns
        async for page in self._lister.pages(priority=priority):
            newest_ns = max([newest_ns, *(file.created_ns for file in page.files)])
            await self._merge(page.files)
            listed.update(file.id for file in page.files)
            if report is not None:
                report(len(listed))
        self._remover.after_complete_listing(known, listed, accepted=accepted)
        self._finish(newest_ns, walked=True)

    async def poll(self) -> None:
        """Read what is new. Raises as walk() does."""
        known = self._remover.known_before(self._wall())
        horizon_ns = self._meta.facts.polled_to_ns - int(self._config.poll_overlap_s * _NS)
        newest_ns = self._meta.facts.polled_to_ns
        pages = 0
        async for page in self._lister.pages(priority=Priority.POLL):
            pages += 1
            self._cadence.note_request()
            newest_ns = max([newest_ns, *(file.created_ns for file in page.files)])
            await self._merge(page.files)
            self._poll_shows_all = pages == 1 and page.next_cursor is None
            if self._poll_shows_all:
                # A single page that is also the last is a complete listing (S4).
                self._remover.after_complete_listing(known, {file.id for file in page.files})
            if page.files and page.files[-1].created_ns < horizon_ns:
                break
        self._finish(newest_ns, walked=False)

    async def accept_removals(self) -> None:
        """List until what the guard held back is removed: a person has looked (S1). Raises as walk() does."""
        for _ in range(REQUIRED_LISTINGS):
            await self._link.watch(lambda: self.walk(priority=Priority.FIRST_LISTING, accepted=True))

    def _finish(self, newest_ns: int, *, walked: bool) -> None:
        now = self._wall()
        self._remover.remove_expired(self._server_clock())
        self._settle_names()
        if walked:
            self._remover.empty_old_trash()
            self._meta.record(listed_ns=self._meta.facts.listed_ns or now, walked_ns=now, polled_to_ns=newest_ns)
        elif newest_ns != self._meta.facts.polled_to_ns:
            self._meta.record(polled_to_ns=newest_ns)
        self._polled_ns = now

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and walk until cancelled."""
        self._cadence.begin_pause()
        task_status.started()
        if self._polled_ns:
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

    def statistics(self) -> RefreshStatistics:
        """A record of now."""
        return RefreshStatistics(self._polled_ns / _NS, self._meta.facts.walked_ns / _NS, self._remotes.known_count())

    async def _refresh(self) -> None:
        for file_id in self._suspects.take():
            try:
                await self._lookout.look_for(file_id)
            except RemotefsError:
                self._suspects.report(file_id)
                raise
        if 0 <= self._wall() - self._meta.facts.walked_ns < self._cadence.walk_interval_s() * _NS:
            await self.poll()
        else:
            await self.walk(priority=Priority.POLL)
        if not self._poll_shows_all:
            await self._lookout.look_at_view()

    async def _pause(self) -> None:
        """Sleep until the next round; a wake from suspend ends it early, and use after idling makes it shorter."""
        while (left := self._interval_s() - self._cadence.paused_s) > _ROUNDING_S:
            await self._bell.wait(min(left, _ALERT_S))
            if self._cadence.was_suspended and not self._link.suspended:
                return
            if self._suspects and self._cadence.paused_s >= _LEAST_PAUSE_S:
                return

    def _interval_s(self) -> float:
        if self._link.suspended:
            return self._config.poll_idle_s
        if not self._link.is_up:
            return self._link.retry_s
        return self._cadence.interval_s()

    # -- merging

    async def _merge(self, files: Iterable[FileMetadata]) -> None:
        batch = list(files)
        for start in range(0, len(batch), _BATCH):
            with self._db.transaction():
                for file in batch[start : start + _BATCH]:
                    self._merge_one(file)
            await trio.lowlevel.checkpoint()

    def _merge_one(self, file: FileMetadata) -> None:
        known = self._remotes.find(file.id)
        if known is not None:
            if known.missed or (known.expires_ns, bool(known.downloadable)) != (file.expires_ns, file.downloadable):
                self._remotes.renew(file.id, expires_ns=file.expires_ns, downloadable=file.downloadable)
            return
        if self._may_be_ours(file) or (file.expires_ns is not None and file.expires_ns <= self._server_clock()):
            return
        remote = Remote(
            file.id, file.filename, file.size_bytes, file.mime_type, file.created_ns, file.expires_ns,
            file.downloadable, Origin.FOREIGN,
        )  # fmt: skip
        self._remotes.add(remote)
        self._placer.place(remote)

    def _may_be_ours(self, file: FileMetadata) -> bool:
        """An upload whose reply has not come, or was lost, may be this very file: its own reply or W6 decides."""
        return any(
            intent.attempt is not None
            and (intent.attempt.name, intent.attempt.size) == (file.filename, file.size_bytes)
            for intent in self._journal.attempts()
        )

    def _settle_names(self) -> None:
        """Show what no path shows, and give twins their plain name where that is free (N3, W8)."""
        with self._db.transaction():
            for remote in self._remotes.unshown(self._server_clock()):
                self._placer.place(remote)
            for twin in self._tree.twins():
                if not any(self._folder_is_open(parent) for parent, _ in self._tree.names_of(twin.ino)):
                    self._placer.promote(twin)
