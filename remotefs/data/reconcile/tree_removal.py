"""How a file that is gone from the service leaves the tree, and where its last bytes go (S2, S3, W8).

Bytes that only this machine has go to the trash. A file that was edited here stays, without its id. Nothing here asks
the service to delete anything: the user did not remove the file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.files.staging import Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


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

    def take_out(self, remote: Remote, reason: str) -> None:
        """Remove every path of a file except where it was edited here; `reason` goes into the trash and the log."""
        with self._db.transaction():
            for inode in self._tree.holders(remote.file_id):
                if inode.state != ContentState.CLEAN:
                    # An edit here of a file deleted elsewhere wins.
                    self._tree.update(inode.ino, file_id=None)
                elif inode.nlink > 0:
                    self._keep_bytes(inode, remote, reason)
                    self._remove_names(inode)
            self._remotes.show(remote.file_id, None)
        self._forget_downloads(remote.file_id)

    def _keep_bytes(self, inode: Inode, remote: Remote, reason: str) -> None:
        """Put the bytes of a file into the trash where nobody else can give them back (S2)."""
        source = self._content.path_of(remote.file_id)
        if source is None and inode.staged_gen is not None:
            # Confirmed by the service, but the staged file has not become content yet.
            source = self._staging.path_of(inode.ino, inode.staged_gen)
        if remote.downloadable or source is None or inode.size == 0:
            return
        path = self._paths.path(inode) or remote.filename
        kept = self._trash.put(
            source, path=path, file_id=remote.file_id, size=inode.size, mode=inode.mode, mtime_ns=inode.mtime_ns,
            reason=reason,
        )  # fmt: skip
        _log.warning("%s: %s; its bytes are number %d of `remotefs trash list`", path, reason, kept.number)

    def _remove_names(self, inode: Inode) -> None:
        intent = self._journal.of_inode(inode.ino)
        if intent is not None and intent.attempt is None:
            self._freed_ids.cancel(intent)
        for parent, name in self._tree.names_of(inode.ino):
            inode = self._tree.unlink(parent, name, now_ns=time.time_ns())
            self._placer.invalidate(parent, name)
            self._remove_if_implied(parent)
        # The user did not do this: nothing is deleted at the service for it. A file that is still open keeps its
        # bytes until the last handle closes.
        if not self._usage.is_open(inode.ino):
            if inode.file_id:
                self._garbage.drop_content(inode.file_id)
            self._unlinker.release(self._tree.update(inode.ino, file_id=None))

    def _remove_if_implied(self, directory: int) -> None:
        """Remove a folder that only remote names made, once its last file is gone; then its parent likewise."""
        inode = self._tree.get(directory)
        while inode.implied and self._tree.is_empty(inode.ino) and inode.parent is not None:
            [(parent, name)] = self._tree.names_of(inode.ino)
            self._tree.rmdir(parent, name, now_ns=time.time_ns())
            self._placer.invalidate(parent, name)
            if not self._usage.is_known(inode.ino):
                self._tree.forget(inode.ino)
            inode = self._tree.get(parent)
