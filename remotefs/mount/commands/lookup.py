"""Finds what a command is about: by a path of the mount, or by a file id."""

from __future__ import annotations

import trio

from remotefs.data.intents.paths import InodePaths
from remotefs.errors import NotFound
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.store.tree import Tree

# The most paths that a result names of the work that a command left undone.
NAMED = 20
# After this number of files the other tasks of the mount get a turn.
_FILES_A_TURN = 500


def resolve(tree: Tree, path: str) -> Inode:
    """Return the inode at a path of the mount. Raises NotFound."""
    inode = tree.resolve(path)
    if inode is None:
        raise NotFound(f"{path or '/'}: no such file or directory in this mount")
    return inode


async def files_at(tree: Tree, path: str) -> list[Inode]:
    """Return the file at `path`, or all regular files below the folder there; lets other tasks run in between.

    Raises NotFound.
    """
    inode = resolve(tree, path)
    if not inode.is_dir:
        return [inode]
    found = []
    for file in tree.files_beneath(inode.ino):
        found.append(file)
        if len(found) % _FILES_A_TURN == 0:
            await trio.lowlevel.checkpoint()
    return found


def path_of_id(store: Store, paths: InodePaths, file_id: str) -> str | None:
    """Return the path that shows a file id; None where the tree has no such file."""
    remote = store.remotes.find(file_id)
    inode = store.tree.find(remote.ino) if remote is not None and remote.ino is not None else None
    return paths.path(inode) if inode is not None else None
