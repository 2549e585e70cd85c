"""Giving a remote file another length (R6): the row, the inodes that show it, and its content on this disk.

The size and the pages that the kernel has of an inode are not changed under it. So a file of another length gets
another inode, which takes the name; an open of the old inode raises StaleError, and its caller looks the name up again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cachetools import LRUCache

from remotefs.data.content.store import ContentStore
from remotefs.data.kernel import Invalidator, Usage
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)

# So many claims are remembered; one that is forgotten has to be shown twice more.
_CLAIMS = 10_000


class Resizer:
    """Changes the length of remote files; no other class does. `forget_downloads` stops downloads of the old length."""

    def __init__(
        self,
        store: Store,
        content: ContentStore,
        invalidator: Invalidator,
        usage: Usage,
        forget_downloads: Callable[[str], None],
    ) -> None:
        self._store = store
        self._content = content
        self._invalidator = invalidator
        self._usage = usage
        self._forget_downloads = forget_downloads
        # By id: the shorter length that the last listing showed.
        self._claims: LRUCache[str, int] = LRUCache(_CLAIMS)

    def learned(self, remote: Remote, size: int) -> None:
        """Take the length that replies have proven instead of the listed one, until a listing shows another."""
        self._resize(remote, size, None if size == remote.size_as_listed else remote.size_as_listed)

    def listed(self, remote: Remote, size: int) -> None:
        """Take the length that a listing, or metadata, shows of a known file, when it differs from the last one shown.

        A shorter length is taken the second time that it is shown: one odd answer truncates nothing (S4).
        """
        if size == remote.size_as_listed or self._is_certain(remote):
            self._claims.pop(remote.file_id, None)
        elif size < remote.size and self._claims.get(remote.file_id) != size:
            self._claims[remote.file_id] = size
        else:
            self._claims.pop(remote.file_id, None)
            self._resize(remote, size, None)

    def distrusted(self, file_id: str) -> None:
        """Give a file another inode, because the kernel may cache wrong bytes that a reader was given."""
        with self._store.database.transaction():
            for inode in self._store.tree.holders(file_id):
                if inode.state == ContentState.CLEAN and inode.nlink > 0 and self._usage.is_known(inode.ino):
                    _log.warning("%s: readers got bytes that are not its content: open it again", file_id)
                    self._replace(inode, inode.size)

    def _is_certain(self, remote: Remote) -> bool:
        """Return whether the bytes on this disk prove the length, so that no listing knows better.

        They do when they were written here, or are all that can be had.
        """
        file_id = remote.file_id
        if self._content.is_pinned(file_id) or (remote.digest is not None and self._content.has_all(file_id)):
            return True
        return any(inode.staged_gen is not None for inode in self._store.tree.holders(file_id))

    def _resize(self, remote: Remote, size: int, listed_size: int | None) -> None:
        _log.info("%s: its length is %d bytes, not %d", remote.file_id, size, remote.size)
        self._forget_downloads(remote.file_id)
        if not self._content.is_pinned(remote.file_id):
            # Stored for the old length: complete by that length, it would pass for the whole file.
            self._content.remove(remote.file_id)
        with self._store.database.transaction():
            self._store.remotes.resize(remote.file_id, size, listed_size=listed_size)
            for inode in self._store.tree.holders(remote.file_id):
                if inode.size != size and inode.state == ContentState.CLEAN and inode.nlink > 0:
                    self._replace(inode, size)

    def _replace(self, old: Inode, size: int) -> None:
        """Give all names of an inode to a new inode of `size` bytes."""
        tree, now = self._store.tree, time.time_ns()
        new: Inode | None = None
        xattrs = self._store.xattrs.of(old.ino)
        for parent, name in tree.names_of(old.ino):
            tree.unlink(parent, name, now_ns=now)
            if new is None:
                new = tree.create(
                    parent, name, old.mode, uid=old.uid, gid=old.gid, now_ns=now, size=size, file_id=old.file_id,
                    conflict_id=old.conflict_id, atime_ns=old.atime_ns, mtime_ns=old.mtime_ns, ctime_ns=old.ctime_ns,
                )  # fmt: skip
            else:
                tree.link(new.ino, parent, name, now_ns=now)
            self._invalidator.entry(parent, name)
        assert new is not None
        assert old.file_id is not None
        for key, value in xattrs.items():
            self._store.xattrs.put(new.ino, key, value, now_ns=old.ctime_ns)
        self._store.remotes.show(old.file_id, new.ino)
        if not self._usage.is_open(old.ino):
            tree.update(old.ino, file_id=None)
