"""How a file that is gone from the service leaves the tree, and where its last bytes go (S2, S3, W8).

Bytes that only this machine has go to the trash. A file that was edited here stays, without its id. Nothing here asks
the service to delete anything: the user did not remove the file.

    look at the rows ──► trash, on the disk (a thread) ──► look again ──► all is in the trash: one transaction
                                    ▲                          ├────────► something else is precious now
                                    └──────────────────────────┘
                                                               └────────► the row changed: the file stays

A crash before the transaction leaves a file both in the tree and in the trash; its removal uses that entry again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash, Trashed
from remotefs.data.files.staging import Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Precious:
    """Bytes at `source` that nobody else can give back, and the inode and the path that they belong to."""

    source: Path
    inode: Inode
    path: str


class TreeRemover:
    """Takes files out of the tree that the service does not have any more.

    `forget_downloads` ends the downloads of an id; their readers get StaleError.
    """

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        placer: TreePlacer,
        trash: Trash,
        usage: Usage,
        forget_downloads: Callable[[str], None],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._shared_log = store.shared_log
        self._paths = intents.paths
        self._unlinker = intents.unlinker
        self._freed_ids = intents.freed_ids
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._placer = placer
        self._trash = trash
        self._usage = usage
        self._forget_downloads = forget_downloads
        self._one_at_a_time = trio.Lock()

    async def take_out(self, remote: Remote, reason: str, *, forget: bool = False) -> bool:
        """Remove every path of a file except where it was edited here, and return whether that was done.

        It is not if the row of the file is not `remote` any more. `reason` goes into the trash and the log; `forget`
        removes the row too. Raises OSError, StateUnusable, OutOfSpace.
        """
        # Two removals of one file would use the same entry of the trash, and the one that is called off withdraw it.
        async with self._one_at_a_time:
            kept: dict[Path, Trashed] = {}
            while self._remotes.find(remote.file_id) == remote:
                precious = self._precious(remote)
                lacking = [
                    it for it in precious if it.source not in kept or not self._trash.holds(kept[it.source].number)
                ]
                if not lacking:
                    self._commit(remote, forget=forget)
                    self._withdraw(kept, but={it.source for it in precious})
                    _report(precious, kept, reason)
                    return True
                for it in lacking:
                    try:
                        kept[it.source] = await self._keep(it, remote, reason)
                    except FileNotFoundError:
                        if it.source.exists():
                            raise
                        # The bytes have moved: look again where they are.
            self._withdraw(kept)
            return False

    def _precious(self, remote: Remote) -> list[_Precious]:
        """Return the bytes that have to be in the trash before the file leaves the tree (S2)."""
        if remote.downloadable:
            return []
        found: list[_Precious] = []
        for inode in self._tree.holders(remote.file_id):
            source = self._source(inode, remote)
            if inode.state == ContentState.CLEAN and inode.nlink > 0 and inode.size > 0 and source is not None:
                found.append(_Precious(source, inode, self._paths.path(inode) or remote.filename))
        return found

    def _source(self, inode: Inode, remote: Remote) -> Path | None:
        source = self._content.path_of(remote.file_id)
        if source is None and inode.staged_gen is not None:
            # Confirmed by the service, but the staged file has not become content yet.
            source = self._staging.path_of(inode.ino, inode.staged_gen)
        return source if source is not None and source.exists() else None

    async def _keep(self, it: _Precious, remote: Remote, reason: str) -> Trashed:
        inode = it.inode
        return await self._trash.keep(
            it.source, path=it.path, file_id=remote.file_id, size=inode.size, mode=inode.mode, mtime_ns=inode.mtime_ns,
            reason=reason,
        )  # fmt: skip

    def _withdraw(self, kept: dict[Path, Trashed], but: frozenset[Path] | set[Path] = frozenset()) -> None:
        for source, entry in kept.items():
            if source not in but:
                self._trash.withdraw(entry.number, source)

    def _commit(self, remote: Remote, *, forget: bool) -> None:
        with self._db.transaction(), self._shared_log.quietly():
            for inode in self._tree.holders(remote.file_id):
                if inode.state != ContentState.CLEAN:
                    # An edit here of a file deleted elsewhere wins.
                    self._tree.update(inode.ino, file_id=None)
                elif inode.nlink > 0:
                    self._remove_names(inode)
            self._remotes.show(remote.file_id, None)
            if forget:
                self._remotes.forget(remote.file_id)
                # Also where an edit has taken its place. What is still open goes when it is closed.
                self._garbage.drop_content(remote.file_id)
        self._forget_downloads(remote.file_id)

    def _remove_names(self, inode: Inode) -> None:
        intent = self._journal.of_inode(inode.ino)
        if intent is not None and intent.attempt is None:
            self._freed_ids.cancel(intent)
        for parent, name in self._tree.names_of(inode.ino):
            before, inode = inode, self._tree.unlink(parent, name, now_ns=time.time_ns())
            self._placer.went(parent, name, before)
            self._placer.remove_if_implied(parent)
        # The user did not do this: nothing is deleted at the service for it. A file that is still open keeps its
        # bytes until the last handle closes.
        if not self._usage.is_open(inode.ino):
            if inode.file_id:
                self._garbage.drop_content(inode.file_id)
            self._unlinker.release(self._tree.update(inode.ino, file_id=None))


def _report(precious: list[_Precious], kept: dict[Path, Trashed], reason: str) -> None:
    for it in precious:
        number = kept[it.source].number
        _log.warning("%s: %s; its bytes are number %d of `remotefs trash list`", it.path, reason, number)
