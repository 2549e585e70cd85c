"""`.remotefs/by-id/<file_id>`: any file of the tree by the id that the service gave it (A5). Not listed.

The file that is found is the file of the tree itself, to be read and written. The two directories take no entries and
have no rows; their inode numbers lie above all that the tree will ever give.

A path by id leads past the folders that the file lies in, and so past their permissions. With `allow_other` other users
come here too, so the directories belong to the user who mounted, and nobody else but root may search them. The kernel
checks that at each step of a path. A check in `lookup` would not do: the kernel keeps the answer for all users.
"""

from __future__ import annotations

import os
import stat

from remotefs import names
from remotefs.store.records import Inode
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree
from remotefs.vfs.view import View

_RESERVED_INO = 1 << 62
_BY_ID_INO = _RESERVED_INO + 1
_BY_ID = "by-id"
_MODE = 0o500


class ById:
    """Finds the files that are shown by id, as entries of a virtual directory."""

    def __init__(self, tree: Tree, remotes: Remotes, view: View) -> None:
        self._tree = tree
        self._view = view
        self._remotes = remotes

    def is_virtual(self, ino: int) -> bool:
        """Return whether an inode number is one of the two virtual directories."""
        return ino in {_RESERVED_INO, _BY_ID_INO}

    def inode(self, ino: int) -> Inode:
        """Return a virtual directory by its number: the mounting user's alone, with the times of the root."""
        root = self._tree.get(self._view.root_ino)
        parent = root.ino if ino == _RESERVED_INO else _RESERVED_INO
        mode = stat.S_IFDIR | _MODE
        return root._replace(ino=ino, mode=mode, uid=os.geteuid(), gid=os.getegid(), nlink=2, parent=parent)

    def lookup(self, parent: int, name: str) -> Inode | None:
        """Return the inode of a name in the root or in a virtual directory; None when there is none."""
        if parent == self._view.root_ino:
            return self.inode(_RESERVED_INO) if name == names.RESERVED else None
        if parent == _RESERVED_INO:
            return self.inode(_BY_ID_INO) if name == _BY_ID else None
        remote = self._remotes.find(name)
        if remote is None or remote.ino is None or not self._view.shows_inode(remote.ino):
            return None
        return self._tree.find(remote.ino)
