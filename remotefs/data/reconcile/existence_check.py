"""Asks the service whether single files still exist: files that a reader missed, and files in viewed folders (S4).

Only a 404 on its id removes a file. That a list of ids lacks it is a reason to suspect it, and to ask for it alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable

import trio

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata
from remotefs.api.protocols import IdLister
from remotefs.config import RefreshConfig
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.removal import VanishedFiles
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.errors import RefusedError, RemoteNotFound, TransportError
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# The most ids that one request takes (files-api.md, section 1).
_MOST_IN_VIEW = 100
# The most files of viewed folders that become suspects before the next poll.
_MOST_LOOKED_FOR = 10
# The most suspects that are asked for in one round.
_MOST_SUSPECTS = 100
# A failure may be about one file alone. This many in one round are about more than that.
_MOST_FAILURES = 2


class ExistenceCheck:
    """Asks for files that may be gone; its requests count for `poll_schedule`."""

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
        # The ids to ask for, in this order. One stays until the service has said whether it has the file.
        self._suspects: dict[str, None] = {}

    def suspect(self, file_ids: Iterable[str]) -> None:
        """Note files that may be gone; `check_suspects` asks for them."""
        self._suspects.update(dict.fromkeys(file_ids))

    async def check_suspects(self) -> None:
        """Ask for suspects, and remove those that the service answers with 404.

        A suspect without an answer goes behind the others, so that one that is always refused holds up none of them,
        nor the listing that follows. Raises LocalError.
        """
        failures = 0
        for file_id in list(self._suspects)[:_MOST_SUSPECTS]:
            del self._suspects[file_id]
            try:
                await self.look_for(file_id)
            except (RefusedError, TransportError) as error:
                self._suspects[file_id] = None
                _log.info("it is not known whether the service still has %s: %s", file_id, error)
                failures += 1
                if failures == _MOST_FAILURES:
                    return
            except BaseException:
                self._suspects[file_id] = None
                raise

    async def look_for(self, file_id: str) -> None:
        """Ask for one file, and remove it if the service answers 404. Raises RefusedError, TransportError."""
        if not self._is_expected(file_id):
            return
        self._poll_schedule.note_request()
        try:
            file = await self._lister.metadata(file_id, priority=Priority.POLL)
        except RemoteNotFound:
            # Read only now: during the request the user may have given the file up, or a listing renewed the row.
            remote = self._remotes.find(file_id)
            if remote is not None and not remote.tombstoned:
                await self._vanished.remove(remote, "it was deleted elsewhere")
        else:
            self._renew(file)

    def _is_expected(self, file_id: str) -> bool:
        remote = self._remotes.find(file_id)
        return remote is not None and not remote.tombstoned

    async def check_viewed(self) -> None:
        """Ask for the files in viewed folders every `check_viewed_every_s`, so that a deletion shows before two walks.

        Files that the answer lacks become suspects. If it lacks more than the guard allows, the walks and their guard
        decide (S1). Raises RefusedError, TransportError, LocalError.
        """
        now = trio.current_time()
        if now < self._view_due_at or self._lister.shape != "ga" or self._meta.facts.removals_held:
            return
        known_until_ns = self._steady() - int(self._config.removal_min_age_s * _NS)
        ids = self._viewed_folders.next_ids(_MOST_IN_VIEW, known_until_ns)
        if not ids:
            return
        # Set before the request: a server that cannot answer is not asked again soon.
        self._view_due_at = now + self._config.walk_every_s
        missing = await self._missing(ids)
        self._view_due_at = now + self._config.check_viewed_every_s
        if len(missing) <= self._config.removal_guard_files:
            self.suspect([file_id for file_id in missing if file_id not in self._suspects][:_MOST_LOOKED_FOR])
            await self.check_suspects()

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
