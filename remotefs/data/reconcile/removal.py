"""When a file counts as gone from the service, and how much may go at once (S1, S4, R4).

A file is removed after two complete listings without it, or after a 404 on its id. It is never removed when a listing
lacks so many files that the listing is more likely wrong than true; then all removals wait for a person.

Rows are read and changed in pages, and other tasks run in between. So each file is looked at again right before it is
removed, and one whose removal fails holds up no other.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import NamedTuple

from remotefs.clocks import ServiceClock
from remotefs.config import RefreshConfig
from remotefs.data.content.trash import Trash
from remotefs.data.reconcile.tree_removal import TreeRemover
from remotefs.errors import LocalError
from remotefs.store.records import Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Complete listings in a row without an id; listings that show an expiry which was not foreseen.
REQUIRED_LISTINGS = 2
# Rows that are read, or changed, before other tasks may run: few milliseconds of work.
_ROWS = 200


@dataclass(frozen=True)
class Census:
    """What a complete listing says about the ids that were known when it began."""

    known: int
    missing: int
    listed: int


class _Unforeseen(NamedTuple):
    """An expiry in the past that was not foreseen, and how many listings have shown it."""

    expires_ns: int | None
    times: int


def is_believable(census: Census, config: RefreshConfig) -> bool:
    """Return whether a listing may be believed: one that is empty or lacks too many of the known ids is not (S1)."""
    if census.known and not census.listed:
        return False
    return census.missing <= max(config.removal_guard_files, config.removal_guard_fraction * census.known)


class VanishedFiles:
    """Decides which files are gone, and has `remover` take them out of the tree."""

    def __init__(
        self, store: Store, remover: TreeRemover, trash: Trash, config: RefreshConfig, clock: ServiceClock
    ) -> None:
        self._db = store.database
        self._remotes = store.remotes
        self._meta = store.meta
        self._steady = store.steady
        self._remover = remover
        self._trash = trash
        self._config = config
        self._clock = clock
        # By id the expiries that were not foreseen. A restart begins to count anew.
        self._unforeseen: dict[str, _Unforeseen] = {}

    def expected_since_ns(self) -> int:
        """Return until when a file became known (steady clock, ns) that a listing which begins now must show."""
        return self._steady() - int(self._config.removal_min_age_s * _NS)

    async def after_complete_listing(self, since_ns: int, listed: AbstractSet[str], *, accepted: bool = False) -> bool:
        """Count the missing ids, and remove those that two listings came without; `accepted` overrules the guard.

        `since_ns` is what `expected_since_ns` was when the listing began. Return whether the listing is believed.
        """
        census, missing = await self._compare(since_ns, listed)
        if not accepted and not is_believable(census, self._config):
            self._hold(census)
            return False
        self._note_all_missing(census, accepted=accepted)
        if self._meta.facts.removals_held:
            self._meta.record(removals_held=0)
        for start in range(0, len(missing), _ROWS):
            self._remotes.miss(missing[start : start + _ROWS], since_ns)
            await self._db.between_batches()
        after = 0, ""
        while page := self._remotes.missed(REQUIRED_LISTINGS, after=after, limit=_ROWS):
            for remote in page:
                await self.remove(remote, "it was deleted elsewhere")
            after = page[-1].missed, page[-1].file_id
        return True

    async def _compare(self, since_ns: int, listed: AbstractSet[str]) -> tuple[Census, list[str]]:
        """Return the census of a complete listing, and the ids that it lacks; tombstones are not in the census."""
        known = lacking = 0
        missing: list[str] = []
        last = ""
        while page := self._remotes.page(after=last, limit=_ROWS):
            for file_id, known_ns, tombstoned in page:
                if known_ns <= since_ns:
                    is_missing = file_id not in listed
                    known += not tombstoned
                    lacking += is_missing and not tombstoned
                    if is_missing:
                        missing.append(file_id)
            last = page[-1][0]
            await self._db.between_batches()
        return Census(known, lacking, len(listed)), missing

    async def remove_expired(self, listed: AbstractSet[str], *, accepted: bool = False) -> None:
        """Stop showing expired files (R4), as a listing that showed `listed` has left them.

        An expiry that was not foreseen counts when two listings have shown it (S4), and is under the guard (S1).
        `accepted` overrules both.
        """
        foreseen, unforeseen = 0, dict[str, _Unforeseen]()
        async for page in self._expired():
            for remote in page:
                if self._is_foreseen(remote):
                    foreseen += 1
                else:
                    unforeseen[remote.file_id] = self._counted(remote, is_listed=remote.file_id in listed)
        self._unforeseen, count = unforeseen, len(unforeseen)
        held = 0 if accepted or not count else self._held(count)
        self._note_held(held)
        if not foreseen and count == held:
            return
        async for page in self._expired():
            for remote in page:
                # Looked at now: the clock may have become doubtful, or gone back, since the files were counted.
                is_sure = accepted or self._is_foreseen(remote) or (not held and self._is_confirmed(remote))
                if is_sure and self._is_over(remote):
                    await self._take_out(remote, "it expired")

    async def _expired(self) -> AsyncIterator[list[Remote]]:
        """Yield the shown files that have expired, in pages; other tasks run in between."""
        now_ns, after = self._clock.now_ns(), (-(1 << 63), "")
        while page := self._remotes.expired(now_ns, after=after, limit=_ROWS):
            assert page[-1].expires_ns is not None
            after = page[-1].expires_ns, page[-1].file_id
            yield [remote for remote in page if remote.ino is not None and not remote.tombstoned]
            await self._db.between_batches()

    def _counted(self, remote: Remote, *, is_listed: bool) -> _Unforeseen:
        before = self._unforeseen.get(remote.file_id)
        times = before.times if before is not None and before.expires_ns == remote.expires_ns else 0
        return _Unforeseen(remote.expires_ns, times + is_listed)

    def _is_confirmed(self, remote: Remote) -> bool:
        found = self._unforeseen.get(remote.file_id)
        return found is not None and found.expires_ns == remote.expires_ns and found.times >= REQUIRED_LISTINGS

    def _is_over(self, remote: Remote) -> bool:
        return remote.expires_ns is not None and remote.expires_ns <= self._clock.now_ns()

    async def remove(self, remote: Remote, reason: str) -> None:
        """Forget a file that the service has forgotten: its row, and its paths unless it was edited here (W8)."""
        await self._take_out(remote, reason, forget=True)

    async def _take_out(self, remote: Remote, reason: str, *, forget: bool = False) -> None:
        try:
            await self._remover.take_out(remote, reason, forget=forget)
        except (LocalError, OSError) as error:
            # The next listing tries it again.
            _log.warning("%s: %s, but it cannot be removed here yet: %s", remote.filename, reason, error)

    async def empty_old_trash(self) -> None:
        """Delete for good the files that have been in the trash for `trash_days` (S2)."""
        try:
            await self._trash.expire(self._config.trash_days)
        except OSError as error:
            _log.warning("the trash cannot be tidied up: %s", error)

    def _is_foreseen(self, remote: Remote) -> bool:
        """Return whether the expiry was listed before it came, by a clock that has gone on as it should since (S1)."""
        return self._clock.is_sure and remote.foreseen == self._clock.epoch

    def _held(self, count: int) -> int:
        """Return how many of `count` unforeseen expiries wait for a person: all or none."""
        known = self._remotes.known_count()
        return 0 if is_believable(Census(known, count, known - count), self._config) else count

    def _note_held(self, count: int) -> None:
        if count == self._meta.facts.expiries_held:
            return
        if count:
            _log.error(
                "%d files expired at once, which nothing foretold: none is removed until `remotefs accept-removals`",
                count,
            )
        self._meta.record(expiries_held=count)

    def _note_all_missing(self, census: Census, *, accepted: bool) -> None:
        """Note a believed listing that lacks every known file, until a person has looked.

        A few files may well have gone at once. But where no reply names the workspace, it may be another's listing, and
        then no object may be deleted for it (X6).
        """
        is_all_missing = not accepted and (self._meta.facts.all_missing or 0 < census.known == census.missing)
        if is_all_missing != self._meta.facts.all_missing:
            self._meta.record(all_missing=is_all_missing)

    def _hold(self, census: Census) -> None:
        if self._meta.facts.removals_held == census.missing:
            return
        _log.error(
            "the listing lacks %d of %d known files: nothing is removed until `remotefs accept-removals`",
            census.missing,
            census.known,
        )
        self._meta.record(removals_held=census.missing)
