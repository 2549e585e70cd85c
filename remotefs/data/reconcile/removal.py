"""What went away elsewhere: when to believe it, and how it leaves the tree (S1, S2, S4, R4, W8).

A file is removed after two complete listings without it, or a 404 on its id; never when a listing lacks so much that
it is more likely wrong than true. Bytes that only this machine has go to the trash.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from remotefs.clocks import ServiceClock
from remotefs.config import RefreshConfig
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.files.staging import Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.store.records import ContentState, Inode, Remote
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
    """S1: a listing that lacks too many of the known ids, or that is empty, is not believed."""
    if census.known and not census.listed:
        return False
    return census.missing <= max(config.removal_guard_files, config.removal_guard_fraction * census.known)


class VanishedFiles:
    """Takes files that are gone out of the tree."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        placer: TreePlacer,
        trash: Trash,
        usage: Usage,
        config: RefreshConfig,
        clock: ServiceClock,
        forget_downloads: Callable[[str], None],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._meta = store.meta
        self._paths = intents.paths
        self._unlinker = intents.unlinker
        self._freed_ids = intents.freed_ids
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._placer = placer
        self._trash = trash
        self._usage = usage
        self._config = config
        self._clock = clock
        self._forget_downloads = forget_downloads

    def known_before(self, now_ns: int) -> set[str]:
        """The ids that a complete listing which begins now must show: those that have been there for a while."""
        settled_ns = now_ns - int(self._config.removal_min_age_s * _NS)
        return self._remotes.ids_known_since(settled_ns)

    async def after_complete_listing(self, known: set[str], listed: set[str], *, accepted: bool = False) -> None:
        """Count what is missing, and remove what two listings came without; `accepted` overrules the guard.

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
            if await self._is_still(remote):
                self.remove(remote, "it was deleted elsewhere")

    async def remove_expired(self, *, accepted: bool = False) -> None:
        """Stop to show expired files (R4); those that were not foreseen to expire are under the guard (S1).

        `accepted` overrules it.
        """
        expired = self._remotes.expired(self._clock.now_ns())
        foreseen = [remote for remote in expired if self._is_foreseen(remote)]
        held = 0 if accepted else self._held(len(expired) - len(foreseen))
        self._note_held(held)
        for remote in foreseen if held else expired:
            if await self._is_still(remote):
                self._take_out(remote, "it expired")

    def _is_foreseen(self, remote: Remote) -> bool:
        """Whether the expiry was listed before it came, by a clock that has gone on as it should since then (S1)."""
        return self._clock.is_sure and remote.foreseen == self._clock.epoch

    def _held(self, count: int) -> int:
        """Return how many of so many expiries that were not foreseen wait for a person: all or none."""
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

    def remove(self, remote: Remote, reason: str) -> None:
        """The service has forgotten the file: so does the tree, except for what was edited here (W8)."""
        with self._db.transaction():
            self._take_out(remote, reason)
            self._remotes.forget(remote.file_id)

    def empty_old_trash(self) -> None:
        """What has been in the trash for long enough goes for good (S2)."""
        self._trash.note_ages()
        self._trash.expire(self._config.trash_days)

    async def _is_still(self, remote: Remote) -> bool:
        """Whether a row is as it was read, after a turn for others: each removal may sync the trash."""
        await trio.lowlevel.checkpoint()
        return self._remotes.find(remote.file_id) == remote

    def _hold(self, census: Census) -> None:
        if self._meta.facts.removals_held == census.missing:
            return
        _log.error(
            "the listing lacks %d of %d known files: nothing is removed until `remotefs accept-removals`",
            census.missing,
            census.known,
        )
        self._meta.record(removals_held=census.missing)

    def _take_out(self, remote: Remote, reason: str) -> None:
        with self._db.transaction():
            for inode in self._tree.holders(remote.file_id):
                if inode.state != ContentState.CLEAN:
                    # An edit here of a file deleted elsewhere wins.
                    self._tree.update(inode.ino, file_id=None)
                elif inode.nlink > 0:
                    self._keep_bytes(inode, remote, reason)
                    self._unname(inode)
            self._remotes.show(remote.file_id, None)
        self._forget_downloads(remote.file_id)

    def _keep_bytes(self, inode: Inode, remote: Remote, reason: str) -> None:
        """S2: what nobody else can give back goes to the trash."""
        source = self._content.path_of(remote.file_id)
        if source is None and inode.staged_gen is not None:
            # Confirmed, and not settled yet.
            source = self._staging.path_of(inode.ino, inode.staged_gen)
        if remote.downloadable or source is None or inode.size == 0:
            return
        path = self._paths.path(inode) or remote.filename
        kept = self._trash.put(
            source, path=path, file_id=remote.file_id, size=inode.size, mode=inode.mode, mtime_ns=inode.mtime_ns,
            reason=reason,
        )  # fmt: skip
        _log.warning("%s: %s; its bytes are number %d of `remotefs trash list`", path, reason, kept.number)

    def _unname(self, inode: Inode) -> None:
        intent = self._journal.of_inode(inode.ino)
        if intent is not None and intent.attempt is None:
            self._journal.remove(intent.seq)
            self._freed_ids.free(intent.replaces)
        for parent, name in self._tree.names_of(inode.ino):
            inode = self._tree.unlink(parent, name, now_ns=time.time_ns())
            self._placer.tell(parent, name)
            self._prune(parent)
        # Not the user's doing: nothing is deleted at the service for it.
        if not self._usage.is_open(inode.ino):
            if inode.file_id:
                self._garbage.drop_content(inode.file_id)
            self._unlinker.release(self._tree.update(inode.ino, file_id=None))

    def _prune(self, directory: int) -> None:
        """A folder that only remote names made goes with its last file."""
        inode = self._tree.get(directory)
        while inode.implied and self._tree.is_empty(inode.ino) and inode.parent is not None:
            [(parent, name)] = self._tree.names_of(inode.ino)
            self._tree.rmdir(parent, name, now_ns=time.time_ns())
            self._placer.tell(parent, name)
            if not self._usage.is_known(inode.ino):
                self._tree.forget(inode.ino)
            inode = self._tree.get(parent)
