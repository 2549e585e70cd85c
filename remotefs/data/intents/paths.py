"""The path of an inode that counts for the service, and the remote filename that it asks for (N1, N3, N6).

An inode may have several names. One of them decides where its bytes go, and whether they are uploaded at all.
"""

from __future__ import annotations

from typing import Protocol

from remotefs import names
from remotefs.store.records import Inode, Intent
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree


class Naming(Protocol):
    """The two lists of names of N6."""

    def never_uploaded(self, path: str) -> bool:
        """Return whether a file of that path stays on this machine."""
        ...

    def temporary(self, name: str) -> bool:
        """Return whether a name has a temporary shape."""
        ...


class InodePaths:
    """Finds the path and the remote filename of an inode; keeps no state of its own."""

    def __init__(self, tree: Tree, remotes: Remotes, naming: Naming) -> None:
        self._tree = tree
        self._remotes = remotes
        self._naming = naming

    def path(self, inode: Inode) -> str | None:
        """Return the path that counts; None once the inode is unlinked.

        That is the oldest ordinary path, else the oldest that is uploaded, else the oldest (N6).
        """
        oldest = oldest_uploaded = None
        for path in self._tree.each_path_of(inode.ino):
            if not (stays_here := self._naming.never_uploaded(path)) and not self._naming.temporary(_last(path)):
                return path
            oldest = path if oldest is None else oldest
            oldest_uploaded = path if oldest_uploaded is None and not stays_here else oldest_uploaded
        return oldest if oldest_uploaded is None else oldest_uploaded

    def remote_name(self, inode: Inode) -> str | None:
        """Return the remote filename that the path asks for, None once unlinked; a conflict copy asks for f's (N3)."""
        path = self.path(inode)
        if path is None:
            return None
        bound = self._remotes.find(inode.file_id) if inode.conflict_id and inode.file_id else None
        if bound is not None and names.decode(bound.asked_name) is not None:
            return bound.asked_name
        return names.remote_name(path)

    def is_local(self, inode: Inode) -> bool:
        """Return whether the inode's bytes stay on this machine (N6)."""
        path = self.path(inode)
        return path is None or self._naming.never_uploaded(path)

    def is_temporary(self, inode: Inode) -> bool:
        """Return whether the inode's name has a temporary shape (N6)."""
        path = self.path(inode)
        return path is not None and self._naming.temporary(_last(path))

    def is_alias(self, inode: Inode) -> bool:
        """Return whether the path of a bound file differs from the one that its remote filename stands for (W7)."""
        if inode.conflict_id is not None:
            return False
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        return remote is not None and remote.asked_name != self.remote_name(inode)

    def shown(self, inode: Inode) -> str:
        """Return the path of an inode for a message to people, or its number once it has no name."""
        return self.path(inode) or f"inode {inode.ino}"

    def of_id(self, file_id: str) -> str:
        """Return the path of a file that is bound to an id, for people; without one the id."""
        return next((self.shown(inode) for inode in self._tree.holders(file_id)), file_id)

    def describe(self, intent: Intent) -> str:
        """Return the path of the file that an intent is about, for people; without a path its id or inode number."""
        inode = self._tree.find(intent.ino) if intent.ino is not None else None
        return (self.path(inode) if inode else None) or intent.file_id or f"inode {intent.ino}"


def _last(path: str) -> str:
    return path.rpartition("/")[2]
