"""Deletes the objects of files that are gone from the shared store (X6).

    once a day ─► list the objects ─► unknown here, and old ─► noted ─► some days later: ripe ─► too many? held (S1)
                                                                                     └─► ask the service ─► delete

`janitor_rules` has what must hold first, and is asked again before each deletion. The janitor is one of many: each
machine that may delete has one. They need not agree, because an object that is deleted twice is gone once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import trio

from remotefs import crashpoints
from remotefs.api.connectivity import Connectivity
from remotefs.clocks import DAY_NS, HOUR_NS, ServiceClock
from remotefs.config import RefreshConfig, SharedConfig
from remotefs.data.share.complete_listings import CompleteListings, LastTwo
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.inventory import StoredObject
from remotefs.data.share.janitor_rules import (
    Standing,
    doubt,
    doubt_for_a_person,
    is_old,
    most_at_once,
    next_due_ns,
    ripe,
)
from remotefs.data.share.last_look import LastLook
from remotefs.errors import ObjectStoreDenied, RemotefsError
from remotefs.store.orphans import Ripe
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# Whether it is time is looked at this often; that costs nothing.
_LOOK_EVERY_S = 600.0
# Rows that are read, or changed, before other tasks may run.
_ROWS = 200
# With the file that shows whether the answer can be relied on, what one request asks for.
_BATCH = 99


class Age(Protocol):
    """The time that has passed as far as all clocks agree, in ns."""

    def aged_ns(self) -> int:
        """Return it as it was last counted."""
        ...

    def aged_at_most_ns(self) -> int:
        """Return the most that it can be now."""
        ...


class NotNow(RemotefsError):
    """Nothing may be deleted now; the message says why."""


@dataclass(frozen=True)
class JanitorStatistics:
    """The objects of files that are gone, for `status`: how many, their bytes, and why they stay if they do."""

    objects: int
    bytes: int
    held: int
    trouble: str | None


class Janitor:
    """Looks once a day for objects of files that are gone, and deletes those that are ripe.

    `is_reader` says whether this machine only reads. `chance` returns a number in 0..1, which spreads the runs of
    several machines.
    """

    def __init__(
        self,
        store: Store,
        contents: SharedContents,
        listings: CompleteListings,
        last_look: LastLook,
        connectivity: Connectivity,
        clock: ServiceClock,
        age: Age,
        config: SharedConfig,
        guard: RefreshConfig,
        *,
        is_reader: bool,
        chance: Callable[[], float],
    ) -> None:
        self._db = store.database
        self._meta = store.meta
        self._shares = store.shares
        self._orphans = store.orphans
        self._contents = contents
        self._listings = listings
        self._last_look = last_look
        self._connectivity = connectivity
        self._clock = clock
        self._age = age
        self._keep_ns = int(config.keep_deleted_days * DAY_NS)
        self._guard = guard
        self._is_reader = is_reader
        self._chance = chance
        # One run at a time: that of a person and that of the day would delete twice what one may.
        self._at_work = trio.Lock()
        # Why the store does not let this machine delete, as of the last run.
        self._denied: str | None = None

    async def run(self) -> None:
        """Clean up once a day until cancelled."""
        while True:
            await self.look()
            await trio.sleep(_LOOK_EVERY_S)

    async def look(self) -> None:
        """Clean up if it is time and nothing is in doubt. A failure is logged, and a later look tries again."""
        now_ns, due_ns = self._age.aged_ns(), self._meta.facts.janitor_due_ns
        if due_ns == 0:
            self._meta.record(janitor_due_ns=now_ns + int(self._chance() * DAY_NS))
        if now_ns < self._meta.facts.janitor_due_ns or self._doubt() is not None:
            return
        next_ns = next_due_ns(now_ns, self._chance())
        try:
            await self._clean(accepted=False)
        except ObjectStoreDenied as error:
            self._note_denied(error)
        except RemotefsError as error:
            _log.info("objects of files that are gone stay in the shared store for now: %s", error)
            next_ns = now_ns + HOUR_NS
        self._meta.record(janitor_due_ns=next_ns)

    async def accept(self) -> int:
        """Delete what was too much at once, because a person has looked (S1); return how many objects went.

        Raises NotNow, ObjectStoreError, RefusedError, TransportError, AccountError.
        """
        return await self._clean(accepted=True) if self._meta.facts.objects_held else 0

    def statistics(self) -> JanitorStatistics:
        """Return the figures of now."""
        facts = self._meta.facts
        return JanitorStatistics(
            *self._orphans.noted(), facts.objects_held, doubt_for_a_person(facts) or self._denied
        )  # fmt: skip

    # -- what must hold

    def _doubt(self) -> str | None:
        connection = self._connectivity
        is_answering = connection.is_up and connection.is_trusted
        return doubt(Standing(self._meta.facts, is_answering, self._clock.is_sure, self._listings.last_two()))

    def _sure(self, account: str) -> LastTwo:
        """Return the last two listings. Raises NotNow if anything is in doubt, or the account is not `account`."""
        if (reason := self._doubt()) is not None:
            raise NotNow(reason)
        listings = self._listings.last_two()
        if listings is None or self._contents.account != account:
            raise NotNow("the account has changed meanwhile")
        return listings

    # -- a run

    async def _clean(self, *, accepted: bool) -> int:
        """Look through the objects and delete those that are ripe; return how many went.

        Raises NotNow, ObjectStoreError, RefusedError, TransportError, AccountError.
        """
        async with self._at_work:
            account = self._contents.account
            self._sure(account)
            await self._drop_rows()
            if self._is_reader or self._contents.may_only_read or not self._keep_ns:
                return 0
            run = self._orphans.next_run()
            await self._contents.check_marker()
            objects = await self._look_through(run)
            # What the listing lacks counts only now: the folder may have been taken away meanwhile.
            await self._contents.check_marker()
            while self._orphans.forget_unfound(run, _ROWS):
                await self._db.between_batches()
            limits = ripe(self._meta.facts, self._sure(account), self._keep_ns, run)
            if not accepted and self._holds(limits, objects):
                return 0
            deleted = await self._delete(limits, account)
            if self._meta.facts.objects_held:
                self._meta.record(objects_held=0)
            return deleted

    async def _drop_rows(self) -> None:
        """Remove the rows of uploads that are in the store and whose files are gone; each is a witness of its file."""
        after = ""
        while page := self._shares.stored_ids(_ROWS, after=after):
            gone = set(page) - self._orphans.known(page)
            if gone:
                with self._db.transaction():
                    self._orphans.witness(gone)
                    self._shares.drop(*gone)
            after = page[-1]
            await self._db.between_batches()

    async def _look_through(self, run: int) -> int:
        """List all objects and note those of no file; return how many objects there are. Raises ObjectStoreError."""
        objects = odd = 0
        async for page in self._contents.objects():
            objects += len(page.objects)
            odd += page.odd
            for first in range(0, len(page.objects), _ROWS):
                self._note({found.file_id: found for found in page.objects[first : first + _ROWS]}, run)
                await self._db.between_batches()
        if odd:
            _log.warning("the shared store has %d objects whose names are not those of files; they stay", odd)
        return objects

    def _note(self, named: dict[str, StoredObject], run: int) -> None:
        known = self._orphans.known(named)
        unknown = {file_id: found for file_id, found in named.items() if file_id not in known}
        now_ns = self._clock.now_ns() if self._clock.is_sure else 0
        old = [(file_id, found.bytes) for file_id, found in unknown.items() if is_old(found.put_ns, now_ns)]
        with self._db.transaction():
            self._orphans.forget(known)
            self._orphans.keep(unknown, run)
            self._orphans.note(old, self._age.aged_at_most_ns(), run)

    def _holds(self, limits: Ripe, objects: int) -> bool:
        """Return whether so much is ripe that a person has to accept it first (S1), and remember that."""
        count = self._orphans.ripe_count(limits)
        if count <= most_at_once(objects, self._guard.removal_guard_files, self._guard.removal_guard_fraction):
            return False
        if count != self._meta.facts.objects_held:
            _log.error(
                "the files of %d of %d objects in the shared store are gone: none is deleted until "
                "`remotefs accept-removals`", count, objects,
            )  # fmt: skip
            self._meta.record(objects_held=count)
        return True

    async def _delete(self, limits: Ripe, account: str) -> int:
        deleted = 0
        try:
            while file_ids := self._orphans.ripe(limits, _BATCH):
                if known := self._orphans.known(file_ids):
                    self._orphans.forget(known)
                    continue
                await self._contents.check_marker()
                await self._look_again(file_ids)
                self._sure(account)
                if not self._orphans.known(file_ids):
                    await self._delete_batch(file_ids)
                    deleted += len(file_ids)
        finally:
            if deleted:
                _log.info("deleted the objects of %d files that are gone from the shared store", deleted)
        self._denied = None
        return deleted

    async def _look_again(self, file_ids: Sequence[str]) -> None:
        """Return if the service has none of some files. Raises NotNow, RefusedError, TransportError, AccountError."""
        there = await self._connectivity.watch(lambda: self._last_look.still_there(file_ids))
        if there is None:
            raise NotNow("an answer of the service lacked a file that it has")
        if there:
            # Then its listings are not to be relied on, and the others stay for now as well.
            self._orphans.forget(there)
            _log.warning("the service has %d files that its listings lacked, such as %s", len(there), min(there))
            raise NotNow("the service has files that its listings lacked")

    async def _delete_batch(self, file_ids: Sequence[str]) -> None:
        crashpoints.reached("janitor: nobody has the files", file_ids[0])
        await self._contents.delete(file_ids)
        crashpoints.reached("janitor: the store has deleted the objects", file_ids[0])
        with self._db.transaction():
            self._orphans.forget(file_ids)
            self._shares.drop(*file_ids)
        crashpoints.reached("janitor: the rows are gone", file_ids[0])

    def _note_denied(self, error: ObjectStoreDenied) -> None:
        if self._denied is None:
            _log.info("objects of files that are gone stay in the shared store: %s", error)
        self._denied = str(error)
