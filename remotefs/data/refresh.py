"""Listing the service into the tree: polls for what is new, walks for the whole. No handler ever waits for it (A1).

A poll reads the newest page and goes on until it is well past what the last poll saw, for a large upload can appear
below a newer known id. All times that are compared are the service's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import trio

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata, Page
from remotefs.config import RefreshConfig
from remotefs.data.doorbell import Doorbell
from remotefs.data.link import Link
from remotefs.data.placing import Placer
from remotefs.data.removal import REQUIRED_LISTINGS, Remover
from remotefs.data.suspects import Suspects
from remotefs.errors import RemotefsError, RemoteNotFound
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.records import Origin, Remote
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Rows that are put into the tree between two turns of the event loop: some 10 ms of work.
_BATCH = 100
# A clock that jumps by this much while we slept: the machine was suspended.
_SUSPEND_S = 30.0


class Lister(Protocol):
    """What is needed here of the API client."""

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        """The whole listing, newest first."""
        ...

    async def metadata(self, file_id: str, *, priority: Priority) -> FileMetadata:
        """One file. Raises RemoteNotFound."""
        ...


class Limit(Protocol):
    """What the budget tells."""

    @property
    def limit_per_minute(self) -> float | None:
        """The learned limit; None for none."""
        ...


@dataclass(frozen=True)
class RefreshStatistics:
    """What `status` shows of listings; seconds since the epoch, 0 for never."""

    polled_s: float
    walked_s: float
    known_files: int


class Refresh:
    """Merges listings into the tree.

    `folder_is_open` tells which folders keep their twins' spellings for now (N3), `clock` the service's time in ns;
    `bell` wakes it.
    """

    def __init__(
        self,
        database: Database,
        tree: Tree,
        journal: Journal,
        remotes: Remotes,
        meta: Meta,
        placer: Placer,
        lister: Lister,
        limit: Limit,
        link: Link,
        config: RefreshConfig,
        folder_is_open: Callable[[int], bool],
        remover: Remover,
        clock: Callable[[], int],
        suspects: Suspects,
        bell: Doorbell,
    ) -> None:
        self._db = database
        self._tree = tree
        self._journal = journal
        self._remotes = remotes
        self._meta = meta
        self._placer = placer
        self._lister = lister
        self._limit = limit
        self._link = link
        self._config = config
        self._folder_is_open = folder_is_open
        self._remover = remover
        self._clock = clock
        self._suspects = suspects
        self._bell = bell
        self._used_at = time.monotonic()
        self._polled_ns = 0
        # What the last poll cost; after many uploads at once it is more than one request.
        self._poll_pages = 1

    # -- what others tell

    def note_use(self) -> None:
        """The kernel asks: polls come often while it does, and at once when the last is old."""
        now = time.monotonic()
        was_idle = now - self._used_at > self._config.idle_after_s
        self._used_at = now
        if was_idle:
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
        known = self._remover.known_before(time.time_ns())
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
        known = self._remover.known_before(time.time_ns())
        horizon_ns = self._meta.facts.polled_to_ns - int(self._config.poll_overlap_s * _NS)
        newest_ns = self._meta.facts.polled_to_ns
        pages = 0
        async for page in self._lister.pages(priority=Priority.POLL):
            pages += 1
            newest_ns = max([newest_ns, *(file.created_ns for file in page.files)])
            await self._merge(page.files)
            if pages == 1 and page.next_cursor is None:
                # A single page that is also the last is a complete listing (S4).
                self._remover.after_complete_listing(known, {file.id for file in page.files})
            if page.files and page.files[-1].created_ns < horizon_ns:
                break
        self._poll_pages = pages
        self._finish(newest_ns, walked=False)

    async def accept_removals(self) -> None:
        """List until what the guard held back is removed: a person has looked (S1). Raises as walk() does."""
        for _ in range(REQUIRED_LISTINGS):
            await self._link.watch(lambda: self.walk(priority=Priority.FIRST_LISTING, accepted=True))

    def _finish(self, newest_ns: int, *, walked: bool) -> None:
        now = time.time_ns()
        self._remover.remove_expired(self._clock())
        self._settle_names()
        if walked:
            self._remover.empty_old_trash()
            self._meta.record(listed_ns=self._meta.facts.listed_ns or now, walked_ns=now, polled_to_ns=newest_ns)
        elif newest_ns != self._meta.facts.polled_to_ns:
            self._meta.record(polled_to_ns=newest_ns)
        self._polled_ns = now

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Poll and walk until cancelled."""
        task_status.started()
        while True:
            await self._pause()
            try:
                await self._link.watch(self._refresh)
            except RemotefsError as error:
                _log.info("listing failed: %s", error)
            except Exception as error:  # noqa: BLE001 - nothing that the service says may end the mount
                _log.error("a listing failed in a way that nobody foresaw", exc_info=error)

    def statistics(self) -> RefreshStatistics:
        """A record of now."""
        return RefreshStatistics(self._polled_ns / _NS, self._meta.facts.walked_ns / _NS, self._remotes.known_count())

    async def _look_for(self, file_id: str) -> None:
        remote = self._remotes.find(file_id)
        if remote is None or remote.doomed:
            return
        try:
            file = await self._lister.metadata(file_id, priority=Priority.POLL)
        except RemoteNotFound:
            self._remover.remove(remote, "it was deleted elsewhere")
        else:
            self._remotes.renew(file_id, expires_ns=file.expires_ns, downloadable=file.downloadable)

    async def _refresh(self) -> None:
        for file_id in self._suspects.take():
            try:
                await self._look_for(file_id)
            except RemotefsError:
                self._suspects.report(file_id)
                raise
        if time.time_ns() - self._meta.facts.walked_ns >= self._config.walk_every_s * _NS:
            await self.walk(priority=Priority.POLL)
        else:
            await self.poll()

    async def _pause(self) -> None:
        """Sleep until the next listing; a wake from suspend and the first use after idling end it early."""
        began, wall = time.monotonic(), time.time()
        while (left := began + self._interval_s() - time.monotonic()) > 0:
            await self._bell.wait(min(left, 5.0))
            suspended = time.time() - wall - (time.monotonic() - began) > _SUSPEND_S
            overdue = self._polled_age_s() > max(self._config.poll_in_use_s, self._least_interval_s())
            if suspended or self._suspects or (overdue and not self._is_idle() and self._link.is_up):
                return

    def _interval_s(self) -> float:
        if self._link.suspended:
            return self._config.poll_idle_s
        if not self._link.is_up:
            return self._link.retry_s
        wanted = self._config.poll_idle_s if self._is_idle() else self._config.poll_in_use_s
        return max(wanted, self._least_interval_s())

    def _least_interval_s(self) -> float:
        """What the share of the limit allows for polls, when walks have had theirs (A4)."""
        limit = self._limit.limit_per_minute
        if limit is None:
            return 0.0
        walks_per_minute = (self._remotes.known_count() / 1000 + 1) / (self._config.walk_every_s / 60)
        share = limit * self._config.budget_fraction
        return 60.0 * self._poll_pages / max(share - walks_per_minute, share / 10)

    def _is_idle(self) -> bool:
        return time.monotonic() - self._used_at > self._config.idle_after_s

    def _polled_age_s(self) -> float:
        return (time.time_ns() - self._polled_ns) / _NS

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
        if self._may_be_ours(file) or (file.expires_ns is not None and file.expires_ns <= self._clock()):
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
            for remote in self._remotes.unshown(self._clock()):
                self._placer.place(remote)
            for twin in self._tree.twins():
                if not any(self._folder_is_open(parent) for parent, _ in self._tree.names_of(twin.ino)):
                    self._placer.promote(twin)
