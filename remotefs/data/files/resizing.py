"""Giving a remote file another length (R6): the row, the inodes that show it, and the content that is here.

What the kernel was told of a file cannot be changed under it, so a file of another length is another inode, which takes
the name; whoever opens the old one is sent to look again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from remotefs.data.content.store import ContentStore
from remotefs.data.kernel import Invalidator, Usage
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class Resizer:
    """The one place where the length of a remote file changes; `forget_downloads` stops those of the old one."""

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
        # By id the shorter length that the last listing said.
        self._claims: dict[str, int] = {}

    def learned(self, remote: Remote, size: int) -> None:
        """Take the length that replies have proven over the listed one, until a listing says another."""
        self._resize(remote, size, None if size == remote.size_as_listed else remote.size_as_listed)

    def listed(self, remote: Remote, size: int) -> None:
        """Take the length that a listing, or metadata, says of a known file, where it says another than before.

        A file that becomes shorter by it is believed the second time: one odd answer truncates nothing (S4).
        """
        if size == remote.size_as_listed or self._is_certain(remote):
            self._claims.pop(remote.file_id, None)
        elif size < remote.size and self._claims.get(remote.file_id) != size:
            self._claims[remote.file_id] = size
        else:
            self._claims.pop(remote.file_id, None)
            self._resize(remote, size, None)

    def distrusted(self, file_id: str) -> None:
        """Give a file another inode: the kernel may keep bytes of it that were handed out and are not its content."""
        with self._store.database.transaction():
            for inode in self._store.tree.holders(file_id):
                if inode.state == ContentState.CLEAN and inode.nlink > 0 and self._usage.is_known(inode.ino):
                    _log.warning("%s: what was read of it was not its content: open it again", file_id)
                    self._replace(inode, inode.size)

    def _is_certain(self, remote: Remote) -> bool:
        """Whether the bytes are here and are all that was sent, or all that can be had: no listing knows better."""
        file_id = remote.file_id
        if self._content.is_pinned(file_id) or (remote.digest is not None and self._content.has_all(file_id)):
            return True
        return any(inode.staged_gen is not None for inode in self._store.tree.holders(file_id))

    def _resize(self, remote: Remote, size: int, listed_size: int | None) -> None:
        _log.info("%s: it is %d bytes long, not %d", remote.file_id, size, remote.size)
        self._forget_downloads(remote.file_id)
        if not self._content.is_pinned(remote.file_id):
            # Stored in the belief of the other length: as complete as it may be, it would be taken for the whole.
            self._content.remove(remote.file_id)
        with self._store.database.transaction():
            self._store.remotes.resize(remote.file_id, size, listed_size=listed_size)
            for inode in self._store.tree.holders(remote.file_id):
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
                    conflict_id=old.conflict_id, atime_ns=old.atime_ns, mtime_ns=old.mtime_ns, ctime_ns=old.ctime_ns,
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
