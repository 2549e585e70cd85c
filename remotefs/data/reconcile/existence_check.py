"""Files whose fate is in doubt, asked for one by one or by their ids; the word on each is a 404 on its id (S4)."""

from __future__ import annotations

import math

import trio

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata
from remotefs.api.protocols import IdLister
from remotefs.config import RefreshConfig
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.removal import VanishedFiles
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.errors import RemoteNotFound
from remotefs.store.store import Store

_NS = 1_000_000_000
# What one request takes (files-api.md, section 1).
_MOST_IN_VIEW = 100
# Of those that an answer lacks as many are looked for one by one before polls have their turn.
_MOST_LOOKED_FOR = 10


class ExistenceCheck:
    """Looks for files that may be gone; what it spends counts for `poll_schedule`."""

    def __init__(
        self,
        store: Store,
        lister: IdLister,
        vanished: VanishedFiles,
        renewer: Renewer,
        viewed_folders: ViewedFolders,
        poll_schedule: PollSchedule,
        config: RefreshConfig,
    ) -> None:
        self._db = store.database
        self._remotes = store.remotes
        self._meta = store.meta
        self._lister = lister
        self._vanished = vanished
        self._renewer = renewer
        self._viewed_folders = viewed_folders
        self._poll_schedule = poll_schedule
        self._config = config
        self._steady = store.steady
        self._view_due_at = -math.inf

    async def look_for(self, file_id: str) -> None:
        """Remove a file if the service says that it has none of that id. Raises what a request raises."""
        remote = self._remotes.find(file_id)
        if remote is None or remote.tombstoned:
            return
        self._poll_schedule.note_request()
        try:
            file = await self._lister.metadata(file_id, priority=Priority.POLL)
        except RemoteNotFound:
            self._vanished.remove(remote, "it was deleted elsewhere")
        else:
            self._renew(file)

    async def check_viewed(self) -> None:
        """Ask for files in viewed_folders, now and then, so that a deletion shows before two walks came without them.

        What the answer lacks is looked for. Where it lacks very much, that is for walks and their guard (S1).
        """
        now = trio.current_time()
        if now < self._view_due_at or self._lister.shape != "ga" or self._meta.facts.removals_held:
            return
        settled_ns = self._steady() - int(self._config.removal_min_age_s * _NS)
        ids = self._viewed_folders.next_ids(_MOST_IN_VIEW, settled_ns)
        if not ids:
            return
        # A server that cannot answer is not asked again soon.
        self._view_due_at = now + self._config.walk_every_s
        missing = await self._missing(ids)
        self._view_due_at = now + self._config.check_viewed_every_s
        if len(missing) <= self._config.removal_guard_files:
            for file_id in missing[:_MOST_LOOKED_FOR]:
                await self.look_for(file_id)

    async def _missing(self, ids: list[str]) -> list[str]:
        self._poll_schedule.note_request()
        listed = await self._lister.list_ids(ids, priority=Priority.POLL)
        with self._db.transaction():
            for file in listed:
                self._renew(file)
        return sorted(set(ids) - {file.id for file in listed})

    def _renew(self, file: FileMetadata) -> None:
        known = self._remotes.find(file.id)
        if known is not None:
            self._renewer.renew(known, file)
