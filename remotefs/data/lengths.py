"""Files that may not be as long as they are listed (R6).

The service may add to generated media when it is downloaded. The kernel cuts a file at the size that it was told, so
the length is verified before the kernel may keep any of it: by the head of the reply when the file is opened, else by
reading it to its end. A file of another length is another inode, which takes the name; whoever opens the old one is
sent to look again.
"""

from __future__ import annotations

import logging
import time

from remotefs.data.changes import Usage
from remotefs.data.content import ContentStore
from remotefs.data.download import Downloader
from remotefs.data.placing import Invalidator
from remotefs.errors import LengthDiffers, OutOfSpace, StaleError
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
# Kinds that can carry credentials of their content, which are added on the way out.
_MEDIA = ("image/", "video/", "audio/", "application/pdf")


class Lengths:
    """Knows which lengths are sure, and mends those that were wrong."""

    def __init__(
        self, store: Store, content: ContentStore, downloader: Downloader, invalidator: Invalidator, usage: Usage
    ) -> None:
        self._store = store
        self._usage = usage
        self._content = content
        self._downloader = downloader
        self._invalidator = invalidator
        # Ids whose length a reply has confirmed in this run of the mount.
        self._sure: set[str] = set()

    async def verify(self, inode: Inode) -> bool:
        """Whether an inode that is about to be opened is as long as it says, as far as the service tells at once.

        Raises StaleError when it is not: another inode has its name now. Raises as a read does.
        """
        if self._is_replaced(inode):
            raise StaleError(f"inode {inode.ino} was replaced by one of another length")
        remote = self._in_doubt(inode)
        if remote is None:
            return True
        try:
            if await self._downloader.verify_length(remote.file_id, inode.size):
                self._sure.add(remote.file_id)
                return True
        except LengthDiffers as error:
            raise await self.stale(remote.file_id, error) from error
        return False

    async def true_size(self, inode: Inode) -> int:
        """The length of a file that `verify` was not sure of: its end is seen first."""
        remote = self._in_doubt(inode)
        if remote is not None:
            try:
                await self._downloader.fetch_all(remote.file_id, remote.size)
                self._sure.add(remote.file_id)
            except LengthDiffers as error:
                await self.stale(remote.file_id, error)
            except OutOfSpace:
                self._correct(remote.file_id, await self._downloader.measure(remote.file_id))
        bound = self._store.remotes.find(inode.file_id) if inode.file_id else None
        return inode.size if bound is None else bound.size

    async def stale(self, file_id: str, error: LengthDiffers) -> StaleError:
        """Give a file its true length; the error for whoever relied on the other."""
        size = error.actual_bytes
        self._correct(file_id, await self._downloader.measure(file_id) if size is None else size)
        return StaleError(f"{error}: it has its true length now, open it again")

    def _is_replaced(self, inode: Inode) -> bool:
        if inode.nlink > 0 or inode.staged_gen is not None or inode.size == 0:
            return False
        remote = self._store.remotes.find(inode.file_id) if inode.file_id else None
        return inode.file_id is None or (remote is not None and remote.ino not in (None, inode.ino))

    def _in_doubt(self, inode: Inode) -> Remote | None:
        if inode.file_id is None or inode.staged_gen is not None or inode.file_id in self._sure:
            return None
        remote = self._store.remotes.find(inode.file_id)
        if remote is None or not remote.downloadable or not remote.mime_type.startswith(_MEDIA):
            return None
        return None if inode.size and self._content.has_all(remote.file_id) else remote

    def _correct(self, file_id: str, size: int) -> None:
        _log.info("%s: it is %d bytes long, not as listed", file_id, size)
        self._sure.add(file_id)
        with self._store.database.transaction():
            self._store.remotes.resize(file_id, size)
            for inode in self._store.tree.holders(file_id):
                if inode.size != size and inode.state == ContentState.CLEAN and inode.nlink > 0:
                    self._replace(inode, size)

    def _replace(self, old: Inode, size: int) -> None:
        """Give all names of an inode to a new one of that size."""
        tree, now = self._store.tree, time.time_ns()
        new: Inode | None = None
        xattrs = tree.xattrs(old.ino)
        for parent, name in tree.names_of(old.ino):
            tree.unlink(parent, name, now_ns=now)
            if new is None:
                new = tree.create(
                    parent, name, old.mode, uid=old.uid, gid=old.gid, now_ns=now, size=size, file_id=old.file_id,
                    spelled_id=old.spelled_id, atime_ns=old.atime_ns, mtime_ns=old.mtime_ns, ctime_ns=old.ctime_ns,
                )  # fmt: skip
            else:
                tree.link(new.ino, parent, name, now_ns=now)
            self._invalidator.entry(parent, name)
        assert new is not None
        assert old.file_id is not None
        for key, value in xattrs.items():
            tree.set_xattr(new.ino, key, value, now_ns=old.ctime_ns)
        self._store.remotes.show(old.file_id, new.ino)
        if not self._usage.is_open(old.ino):
            tree.update(old.ino, file_id=None)
