"""When a file counts as gone from the service, and how much may go at once (S1, S4, R4).

A file is removed after two complete listings without it, or after a 404 on its id. It is never removed when a listing
lacks so many files that the listing is more likely wrong than true; then all removals wait for a person.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import trio

from remotefs.clocks import ServiceClock
from remotefs.config import RefreshConfig
from remotefs.data.content.trash import Trash
from remotefs.data.reconcile.tree_removal import TreeRemover
from remotefs.store.records import Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# Complete listings in a row without an id.
REQUIRED_LISTINGS = 2


@dataclass(frozen=True)
class Census:
    """What a complete listing says about the ids that were known when it began."""

    known: int
    missing: int
    listed: int


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
        self._remover = remover
        self._trash = trash
        self._config = config
        self._clock = clock

    def known_before(self, now_ns: int) -> set[str]:
        """Return the ids that a complete listing which begins now must show: those known for `removal_min_age_s`."""
        return self._remotes.ids_known_since(now_ns - int(self._config.removal_min_age_s * _NS))

    async def after_complete_listing(self, known: set[str], listed: set[str], *, accepted: bool = False) -> None:
        """Count the missing ids, and remove those that two listings came without; `accepted` overrules the guard.

        `known` are the ids that were known when the listing began.
        """
        missing = known - listed
        tombstones = self._remotes.tombstoned_ids()
        census = Census(len(known - tombstones), len(missing - tombstones), len(listed))
        if not accepted and not is_believable(census, self._config):
            self._hold(census)
            return
        with self._db.transaction():
            self._remotes.miss(missing)
            if self._meta.facts.removals_held:
                self._meta.record(removals_held=0)
        for remote in self._remotes.missed(REQUIRED_LISTINGS):
            if await self._is_unchanged(remote):
                self.remove(remote, "it was deleted elsewhere")

    async def remove_expired(self, *, accepted: bool = False) -> None:
        """Stop showing expired files (R4); expiries that were not foreseen are under the guard (S1).

        `accepted` overrules the guard.
        """
        expired = self._remotes.expired(self._clock.now_ns())
        foreseen = [remote for remote in expired if self._is_foreseen(remote)]
        held = 0 if accepted else self._held(len(expired) - len(foreseen))
        self._note_held(held)
        for remote in foreseen if held else expired:
            if await self._is_unchanged(remote):
                self._remover.take_out(remote, "it expired")

    def remove(self, remote: Remote, reason: str) -> None:
        """Forget a file that the service has forgotten: its row, and its paths unless it was edited here (W8)."""
        with self._db.transaction():
            self._remover.take_out(remote, reason)
            self._remotes.forget(remote.file_id)

    def empty_old_trash(self) -> None:
        """Delete for good the files that have been in the trash for `trash_days` (S2)."""
        self._trash.note_ages()
        self._trash.expire(self._config.trash_days)

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

    def _hold(self, census: Census) -> None:
        if self._meta.facts.removals_held == census.missing:
            return
        _log.error(
            "the listing lacks %d of %d known files: nothing is removed until `remotefs accept-removals`",
            census.missing,
            census.known,
        )
        self._meta.record(removals_held=census.missing)

    async def _is_unchanged(self, remote: Remote) -> bool:
        """Let other tasks run, because each removal may sync the trash; return whether the row is still as read."""
        await trio.lowlevel.checkpoint()
        return self._remotes.find(remote.file_id) == remote
