"""Files that are listed again after they were taken out of the tree: their bytes come back from the trash.

The bytes of an id never change, so what the trash has of an id is what the service has. The service gives no upload
back: without this, a listing that wrongly lacked a file would leave it unreadable.
"""

from __future__ import annotations

import logging
import stat

import trio

from remotefs.data.content.labels import Label, write_label
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash, Trashed
from remotefs.data.intents.paths import InodePaths
from remotefs.data.kernel import Invalidator
from remotefs.errors import LocalError
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class ReturnedFiles:
    """Gives files that are shown, and whose bytes are only in the trash, their bytes back."""

    def __init__(
        self, store: Store, content: ContentStore, trash: Trash, paths: InodePaths, invalidator: Invalidator
    ) -> None:
        self._tree = store.tree
        self._remotes = store.remotes
        self._content = content
        self._trash = trash
        self._paths = paths
        self._invalidator = invalidator
        # The files that were placed when the trash was looked at last; None: not yet in this mount.
        self._placed: int | None = None

    async def bring_back(self, placed: int) -> None:
        """Look, unless nothing was placed since the last look; `placed` counts the files that were, in this mount."""
        if placed == self._placed:
            return
        self._placed = placed
        try:
            entries = await trio.to_thread.run_sync(self._trash.entries)
            for entry in entries:
                await self._bring_one_back(entry)
        except (LocalError, OSError) as error:
            # The next file that is placed lets it be tried again, and so does the next mount.
            _log.warning("bytes cannot be taken back from the trash yet: %s", error)

    async def _bring_one_back(self, entry: Trashed) -> None:
        found = self._lacking(entry)
        if found is None:
            return
        remote, inode = found
        lent = await trio.to_thread.run_sync(self._trash.lend, entry.number)
        path = self._paths.path(inode) or remote.filename
        write_label(lent, Label.of(inode, path))
        await self._content.adopt(remote.file_id, lent, remote.size, pinned=True, digest=remote.digest)
        if self._is_unshown(remote):
            # Removed meanwhile; the trash still has its bytes.
            self._content.remove(remote.file_id)
            return
        self._tree.update(
            inode.ino, mode=stat.S_IFMT(inode.mode) | stat.S_IMODE(entry.mode), mtime_ns=entry.mtime_ns
        )  # fmt: skip
        self._invalidator.inode(inode.ino)
        await trio.to_thread.run_sync(self._trash.remove, entry.number)
        _log.warning("%s: the service lists it again; its bytes are back from the trash", path)

    def _lacking(self, entry: Trashed) -> tuple[Remote, Inode] | None:
        """Return the file that is shown and that lacks the bytes of an entry; None if there is none."""
        remote = self._remotes.find(entry.file_id) if entry.file_id else None
        if remote is None or remote.downloadable or remote.size != entry.size or self._is_unshown(remote):
            return None
        assert remote.ino is not None
        inode = self._tree.find(remote.ino)
        if inode is None or inode.state != ContentState.CLEAN or inode.staged_gen is not None:
            return None
        if self._content.is_pinned(remote.file_id) and self._content.has_all(remote.file_id):
            # It was not removed yet.
            self._trash.withdraw(entry.number, self._content.where(remote.file_id))
            return None
        return remote, inode

    def _is_unshown(self, remote: Remote) -> bool:
        """Return whether no path shows a file any more."""
        now = self._remotes.find(remote.file_id)
        return now is None or bool(now.tombstoned) or now.ino is None or not self._tree.holders(remote.file_id)
