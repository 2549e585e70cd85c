"""Merges the entries of listings into the tree: new files are placed, known files are renewed."""

from __future__ import annotations

import time
from collections.abc import Sequence

from remotefs.api.models import FileMetadata
from remotefs.clocks import ServiceClock
from remotefs.data.reconcile.conflict_copies import ConflictCopies
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.returned_files import ReturnedFiles
from remotefs.data.reconcile.undeleted import Undeleted
from remotefs.store.records import Origin, Remote
from remotefs.store.store import Store

# The most rows that are merged before other tasks may run, and for how long at most: a read of a file is five requests,
# and each may wait for a batch. A known file takes 20 us, a new one in a new folder 0.5 ms.
_BATCH = 100
_BATCH_S = 0.003
# The files without a path that are looked at before other tasks may run.
_PLACED = 20


class Merger:
    """Merges listings page by page."""

    def __init__(
        self,
        store: Store,
        placer: TreePlacer,
        renewer: Renewer,
        conflict_copies: ConflictCopies,
        returned_files: ReturnedFiles,
        undeleted: Undeleted,
        clock: ServiceClock,
    ) -> None:
        self._db = store.database
        self._journal = store.journal
        self._remotes = store.remotes
        self._placer = placer
        self._renewer = renewer
        self._conflict_copies = conflict_copies
        self._returned_files = returned_files
        self._undeleted = undeleted
        self._clock = clock

    def listing_begins(self) -> None:
        """Tell what a listing shows from what the one before it showed."""
        self._renewer.listing_begins()

    async def merge(self, files: Sequence[FileMetadata]) -> None:
        """Merge the entries of a page; other tasks run between the batches."""
        merged = 0
        # The page was decoded just now.
        await self._db.between_batches()
        while merged < len(files):
            merged += self._merge_batch(files[merged : merged + _BATCH])
            await self._db.between_batches()

    def _merge_batch(self, files: Sequence[FileMetadata]) -> int:
        """Merge entries in one transaction until the time of a batch is over; return how many."""
        over_at = time.perf_counter() + _BATCH_S
        with self._db.transaction():
            expected = self._expected()
            for count, file in enumerate(files, start=1):
                self._merge_one(file, expected)
                if time.perf_counter() > over_at:
                    return count
        return len(files)

    async def resolve_names(self) -> None:
        """Show files that no path shows, and give conflict copies their plain name where it is free (N3, W8).

        Files that were gone and are listed again get their bytes back.
        """
        last = ""
        while page := self._remotes.unshown(after=last, limit=_PLACED):
            now_ns = self._clock.now_ns()
            with self._db.transaction():
                for remote in page:
                    if remote.expires_ns is None or remote.expires_ns > now_ns:
                        self._placer.place(remote)
            last = page[-1].file_id
            await self._db.between_batches()
        await self._conflict_copies.resolve()
        await self._returned_files.bring_back(self._placer.placed)

    def _merge_one(self, file: FileMetadata, expected: set[tuple[str, int]]) -> None:
        known = self._remotes.find(file.id)
        if known is not None:
            self._renewer.renew(known, file)
            if known.tombstoned:
                self._undeleted.listed(known)
            return
        is_over = file.expires_ns is not None and file.expires_ns <= self._clock.now_ns()
        if is_over or (file.filename, file.size_bytes) in expected:
            return
        remote = Remote(
            file.id, file.filename, file.size_bytes, file.mime_type, file.created_ns, file.expires_ns,
            file.downloadable, Origin.FOREIGN, foreseen=self._renewer.foreseen(file),
        )  # fmt: skip
        self._remotes.add(remote)
        self._placer.place(remote)

    def _expected(self) -> set[tuple[str, int]]:
        """Return the names and sizes of uploads whose reply has not come, or was lost.

        A listed file of the same name and size may be ours: the reply, or the readback of W6, decides.
        """
        attempts = (intent.attempt for intent in self._journal.attempts())
        return {(attempt.name, attempt.size) for attempt in attempts if attempt is not None}
