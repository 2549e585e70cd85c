"""Finds what a command is about: by a path of the mount, or by a file id."""

from __future__ import annotations

from collections.abc import Iterator

from remotefs.data.intents.paths import InodePaths
from remotefs.errors import NotFound
from remotefs.mount.turns import Turns
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.store.tree import Tree

# The most paths that a result names of the work that a command left undone.
NAMED = 20
# After this number of files the other tasks of the mount get a turn.
_FILES_A_TURN = 500
# The names that are read at once for a walk in order; they take a millisecond.
_NAMES_A_PAGE = 100


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
    found, turns = [], Turns(_FILES_A_TURN)
    for file in tree.files_beneath(inode.ino):
        found.append(file)
        await turns.step()
    return found


def in_order(tree: Tree, folder: Inode, after: str = "") -> Iterator[tuple[str, Inode]]:
    """Yield all that lies below a folder, in the order of the paths, each with its path relative to the folder.

    With `after`, a relative path that was yielded before, only those that follow it, whether or not it is still there.
    Of each folder a page of names is in memory.
    """
    levels = _levels(tree, folder, after)
    while levels:
        prefix, names = levels[-1]
        for name, inode in names:
            yield prefix + name, inode
            if inode.is_dir:
                levels.append((f"{prefix}{name}/", _names(tree, inode.ino, "")))
                break
        else:
            levels.pop()


def _levels(tree: Tree, root: Inode, after: str) -> list[tuple[str, Iterator[tuple[str, Inode]]]]:
    """Return the folders on the way to `after`, each with its path and the names in it that are still to come."""
    levels, prefix, where = [], "", root.ino
    for name in after.split("/") if after else ():
        levels.append((prefix, _names(tree, where, name)))
        inside = tree.lookup(where, name)
        if inside is None or not inside.is_dir:
            return levels
        where, prefix = inside.ino, f"{prefix}{name}/"
    return [*levels, (prefix, _names(tree, where, ""))]


def _names(tree: Tree, folder: int, after: str) -> Iterator[tuple[str, Inode]]:
    while page := tree.by_name(folder, after=after, limit=_NAMES_A_PAGE):
        yield from page
        after = page[-1][0]


def path_of_id(store: Store, paths: InodePaths, file_id: str) -> str | None:
    """Return the path that shows a file id; None where the tree has no such file."""
    remote = store.remotes.find(file_id)
    inode = store.tree.find(remote.ino) if remote is not None and remote.ino is not None else None
    return paths.path(inode) if inode is not None else None
