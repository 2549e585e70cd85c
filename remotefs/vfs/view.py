"""The part of the tree that a mount shows: a folder as its root (`subdir=`), without the names that are hidden.

It decides what programs see and nothing else. The tree, the listings and the intents are those of the whole account, so
no file is taken for missing because a mount does not show it.
"""

from __future__ import annotations

from collections.abc import Callable

from remotefs.store.records import ROOT_INO, Inode
from remotefs.store.tree import Tree


class View:
    """Owns which inode is the root of the mount: the tree's own, until `begin_at`, which comes before any request.

    `hides` returns whether a name is hidden, in whatever folder.
    """

    def __init__(self, tree: Tree, hides: Callable[[str], bool]) -> None:
        self._tree = tree
        self.hides = hides
        self.root_ino = ROOT_INO
        # The path of the root in the tree.
        self.path = ""

    def begin_at(self, folder: Inode, path: str) -> None:
        """Show a folder of the tree as the root; `path` is its path. It must never be removed or renamed after that."""
        self.root_ino = folder.ino
        self.path = path

    def shows(self, path: str) -> bool:
        """Return whether a path of the tree is shown: the root itself, or below it without a hidden name."""
        if path == self.path:
            return True
        start = f"{self.path}/" if self.path else ""
        return path.startswith(start) and not any(map(self.hides, path.removeprefix(start).split("/")))

    def inside(self, path: str) -> str:
        """Return a path of the tree that is shown as it is below the mount's root."""
        return path.removeprefix(self.path).removeprefix("/") if self.path else path

    def shows_inode(self, ino: int) -> bool:
        """Return whether one of the names of an inode is shown."""
        return any(map(self.shows, self._tree.each_path_of(ino)))
