"""The conflict copies, which get their plain name at a refresh once it is free (N3).

A conflict copy that is *settled* waits for a newer file, or for a folder, to leave its plain name. It is looked at
again only once something else has that name, or nothing, or an edit has made the copy itself the newer one. So a
refresh costs one look at a name for each of them.
"""

from __future__ import annotations

from collections.abc import Callable

from remotefs.data.reconcile.placement import Rival, TreePlacer
from remotefs.store.records import Inode
from remotefs.store.store import Store

# Conflict copies that are looked at before other tasks may run: at most 10 ms of work.
_BATCH = 50


class ConflictCopies:
    """Looks after the conflict copies of the tree.

    `folder_is_open` returns whether a folder is being read, so that its conflict copies keep their names for now.
    """

    def __init__(self, store: Store, placer: TreePlacer, folder_is_open: Callable[[int], bool]) -> None:
        self._db = store.database
        self._tree = store.tree
        self._placer = placer
        self._folder_is_open = folder_is_open
        # By inode and remote file what keeps a conflict copy from its plain name.
        self._settled: dict[tuple[int, str | None], Rival] = {}

    async def resolve(self) -> None:
        """Give conflict copies their plain name where it is free; other tasks run in between."""
        settled: dict[tuple[int, str | None], Rival] = {}
        last = 0
        while page := self._tree.conflict_copies(after=last, limit=_BATCH):
            with self._db.transaction():
                for conflict_copy in page:
                    rival = self._rival_after_a_look(conflict_copy)
                    if rival is not None:
                        settled[conflict_copy.ino, conflict_copy.file_id] = rival
            last = page[-1].ino
            await self._db.between_batches()
        self._settled = settled

    def _rival_after_a_look(self, conflict_copy: Inode) -> Rival | None:
        """Give the copy its plain name if it may have it; return what keeps it from that for good, if anything does."""
        rival = self._settled.get((conflict_copy.ino, conflict_copy.file_id))
        if rival is not None and self._placer.is_in_place(rival):
            return rival
        if any(self._folder_is_open(parent) for parent, _ in self._tree.names_of(conflict_copy.ino)):
            return None
        return None if self._placer.give_plain_name(conflict_copy) else self._placer.rival_of(conflict_copy)
