"""Merges the entries of listings into the tree: new files are placed, known files are renewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from remotefs.api.models import FileMetadata
from remotefs.clocks import ServiceClock
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.data.reconcile.renewal import Renewer
from remotefs.store.records import Origin, Remote
from remotefs.store.store import Store

# Rows that are merged before other tasks may run: some 10 ms of work.
_BATCH = 100


class Merger:
    """Merges listings page by page.

    `folder_is_open` returns whether a folder is being read, so that its conflict copies keep their names for now (N3).
    """

    def __init__(
        self,
        store: Store,
        placer: TreePlacer,
        renewer: Renewer,
        folder_is_open: Callable[[int], bool],
        clock: ServiceClock,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._placer = placer
        self._renewer = renewer
        self._folder_is_open = folder_is_open
        self._clock = clock

    async def merge(self, files: Sequence[FileMetadata]) -> None:
        """Merge the entries of a page; other tasks run between the batches."""
        for start in range(0, len(files), _BATCH):
            with self._db.transaction():
                expected = self._expected()
                for file in files[start : start + _BATCH]:
                    self._merge_one(file, expected)
            await trio.lowlevel.checkpoint()

    def resolve_names(self) -> None:
        """Show files that no path shows, and give conflict copies their plain name where it is free (N3, W8)."""
        with self._db.transaction():
            for remote in self._remotes.unshown(self._clock.now_ns()):
                self._placer.place(remote)
            for conflict_copy in self._tree.conflict_copies():
                if not any(self._folder_is_open(parent) for parent, _ in self._tree.names_of(conflict_copy.ino)):
                    self._placer.give_plain_name(conflict_copy)

    def _merge_one(self, file: FileMetadata, expected: set[tuple[str, int]]) -> None:
        known = self._remotes.find(file.id)
        if known is not None:
            self._renewer.renew(known, file)
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
