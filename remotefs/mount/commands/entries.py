"""Makes and removes names of the tree for a command, and reports them to the kernel.

A request of the kernel changes names that the kernel knows of. A command does so behind its back: the kernel may have
cached the name, or that there is none.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from remotefs.errors import AlreadyExists, NotADirectory
from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.commands.lookup import resolve
from remotefs.store.records import Inode
from remotefs.store.tree import Tree
from remotefs.vfs.namespace import Namespace


@dataclass(frozen=True)
class _Owner:
    """The owner of a file that a command makes: the one of the folder that it is made in."""

    uid: int
    gid: int


class Entries:
    """Changes names by the verbs that the kernel's requests use."""

    def __init__(self, tree: Tree, namespace: Namespace, notifier: KernelNotifier) -> None:
        self._tree = tree
        self._namespace = namespace
        self._notifier = notifier

    def check_free(self, path: str) -> None:
        """Raise AlreadyExists where something has that path."""
        if self._tree.resolve(path) is not None:
            raise AlreadyExists(f"{path} exists; give another path with --to")

    def make_file(self, path: str, mode: int, made: list[tuple[int, str]]) -> Inode:
        """Make an empty file with these permissions, and the folders on the way to it; add each new name to `made`.

        Raises AlreadyExists, NotADirectory.
        """
        self.check_free(path)
        folder, _slash, name = path.rpartition("/")
        parent = self._make_folders(folder, made)
        owner = _Owner(parent.uid, parent.gid)
        inode = self._namespace.mknod(parent.ino, name.encode(), stat.S_IFREG | stat.S_IMODE(mode), 0, owner)
        made.append((parent.ino, name))
        return inode

    def _make_folders(self, path: str, made: list[tuple[int, str]]) -> Inode:
        inode = resolve(self._tree, "")
        for name in path.split("/") if path else ():
            found = self._tree.lookup(inode.ino, name)
            if found is None:
                owner = _Owner(inode.uid, inode.gid)
                found = self._namespace.mkdir(inode.ino, name.encode(), 0o755, owner)
                made.append((inode.ino, name))
            if not found.is_dir:
                raise NotADirectory(f"{name} in {path} is not a directory; give another path with --to")
            inode = found
        return inode

    def unlink(self, ino: int) -> None:
        """Remove the only name of a file, and report it."""
        [(parent, name)] = self._tree.names_of(ino)
        self._namespace.unlink(parent, name.encode())
        self._notifier.entry(parent, name)

    def report(self, entries: Iterable[tuple[int, str]]) -> None:
        """Tell the kernel that these names, each with its folder's inode, are no longer as it knew them."""
        for parent, name in entries:
            self._notifier.entry(parent, name)
