"""Finds or makes the folder of the tree that a mount shows as its root (`subdir=`)."""

from __future__ import annotations

import stat
import time

from remotefs.errors import UsageError
from remotefs.store.records import ROOT_INO, Inode
from remotefs.store.tree import Tree
from remotefs.vfs.view import View

_MODE = stat.S_IFDIR | 0o755


def begin_view(tree: Tree, view: View, path: str, *, makes: bool) -> bool:
    """Have the view begin at a folder, which with `makes` is made where it is missing. Return whether it was.

    The folder stays from now on, also when the last of its files is removed elsewhere: the mount stands on it. Raises
    UsageError where it is not a folder, or missing.
    """
    if not path:
        return False
    is_new = False
    folder = tree.get(ROOT_INO)
    for name in path.split("/"):
        inside = tree.lookup(folder.ino, name)
        if inside is None and not makes:
            raise UsageError(f"subdir={path}: there is no such folder in the tree, and a read-only mount makes none")
        is_new = is_new or inside is None
        folder = inside or _make(tree, folder, name)
        if not folder.is_dir:
            raise UsageError(f"subdir={path}: {name} is not a folder of the tree")
    if folder.implied:
        tree.update(folder.ino, implied=0)
    view.begin_at(folder, path)
    return is_new


def _make(tree: Tree, parent: Inode, name: str) -> Inode:
    return tree.create(parent.ino, name, _MODE, uid=parent.uid, gid=parent.gid, now_ns=time.time_ns())
