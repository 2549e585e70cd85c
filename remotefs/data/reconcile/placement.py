"""Where a remote file is shown in the tree (N1, N3, N4), and how it leaves it.

A path that holds something of this machine (a pending change, an alias, a link) keeps it; between two plain remote
files the newer has the plain name, and the other becomes a conflict copy with its id in the name.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from remotefs import names
from remotefs.data.foreign_names import ForeignNames
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Invalidator, Usage
from remotefs.store.records import ROOT_INO, ContentState, Inode, Remote
from remotefs.store.store import Store


@dataclass(frozen=True)
class Ownership:
    """The owner and the modes that files of others get here."""

    uid: int
    gid: int
    file_mode: int = 0o644
    directory_mode: int = 0o755


class Rival(NamedTuple):
    """The file or folder that has the plain name of a conflict copy; `file_id` is its remote file."""

    parent: int
    name: str
    ino: int
    file_id: str | None


class _Place(NamedTuple):
    """A free name in a folder, and the id that makes it the name of a conflict copy, if it does."""

    parent: int
    name: str
    conflict_id: str | None


class TreePlacer:
    """Puts remote files into the tree; called inside a transaction. `foreign` hears of each name that it changes."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        invalidator: Invalidator,
        ownership: Ownership,
        usage: Usage,
        foreign: ForeignNames,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._shared_log = store.shared_log
        self._paths = intents.paths
        self._invalidator = invalidator
        self._ownership = ownership
        self._usage = usage
        self._foreign = foreign
        # The number of files that were put into the tree in this mount.
        self.placed = 0

    def place(self, remote: Remote) -> Inode:
        """Show a remote file that no path shows yet; return its new inode."""
        with self._shared_log.quietly():
            return self._show(remote, self._free_place(remote))

    def shown_by(self, remote: Remote) -> Inode | None:
        """Return the inode that shows an unchanged file under the name that it has at the service, if one does."""
        inode = self._tree.find(remote.ino) if remote.ino is not None else None
        return inode if inode is not None and self.is_plain(inode) else None

    def correct(self, inode: Inode, known: Remote, remote: Remote) -> None:
        """Show an unchanged file by its date and path as `remote`, because what was `known` of these was wrong."""
        with self._shared_log.quietly():
            if inode.mtime_ns == known.created_ns:
                self._tree.update(inode.ino, mtime_ns=remote.created_ns)
                self._invalidator.inode(inode.ino)
            if remote.filename != known.filename:
                self._move(inode, remote)

    def _move(self, inode: Inode, remote: Remote) -> None:
        [(parent, name)] = self._tree.names_of(inode.ino)
        place = self._free_place(remote)
        self._tree.rename(parent, name, place.parent, place.name, now_ns=time.time_ns())
        moved = self._tree.update(inode.ino, conflict_id=place.conflict_id)
        self.went(parent, name, inode)
        self.came(place.parent, place.name, moved)
        self.remove_if_implied(parent)

    def remove_if_implied(self, directory: int) -> None:
        """Remove a folder that only remote names made, once its last file is gone; then its parent likewise."""
        inode = self._tree.get(directory)
        while inode.implied and self._tree.is_empty(inode.ino) and inode.parent is not None:
            [(parent, name)] = self._tree.names_of(inode.ino)
            self._tree.rmdir(parent, name, now_ns=time.time_ns())
            self.went(parent, name, inode)
            if not self._usage.is_known(inode.ino):
                self._tree.forget(inode.ino)
            inode = self._tree.get(parent)

    def _free_place(self, remote: Remote) -> _Place:
        *folders, name = names.place(remote.filename, remote.file_id)
        parent = self._directory(folders, remote)
        if parent is None:
            parent, name = ROOT_INO, names.safe_name(remote.filename, remote.file_id)
        occupant = self._tree.lookup(parent, name)
        if occupant is not None and occupant.is_dir:
            return _Place(parent, names.clash_name(name, remote.file_id, self._taken(parent)), remote.file_id)
        if occupant is not None and not self._makes_way(parent, name, occupant, remote):
            return _Place(parent, names.conflict_name(name, remote.file_id, self._taken(parent)), remote.file_id)
        return _Place(parent, name, None)

    def give_plain_name(self, conflict_copy: Inode) -> bool:
        """Give a conflict copy its plain name (N3); return whether it has it now.

        It must lie in the folder that its remote name says, and nothing newer may have the plain name.
        """
        place = self._plain_place(conflict_copy)
        if place is None:
            return False
        bound, parent, plain = place
        occupant = self._tree.lookup(parent, plain)
        if occupant is not None and not self._makes_way(parent, plain, occupant, bound):
            return False
        here = [name for where, name in self._tree.names_of(conflict_copy.ino) if where == parent]
        if here:
            self._rename_entry(parent, here[0], plain, conflict_copy, conflict_id=None)
        return bool(here)

    def rival_of(self, conflict_copy: Inode) -> Rival | None:
        """Return what has the plain name of a conflict copy, if it keeps it from the copy for as long as it is there.

        That is a folder, or a newer file. Anything else may make way as it is, at another time.
        """
        place = self._plain_place(conflict_copy)
        if place is None:
            return None
        bound, parent, plain = place
        occupant = self._tree.lookup(parent, plain)
        if occupant is None:
            return None
        newer = self._remotes.find(occupant.file_id) if occupant.file_id else None
        if occupant.is_dir or (newer is not None and newer.age_key > bound.age_key):
            return Rival(parent, plain, occupant.ino, occupant.file_id)
        return None

    def is_in_place(self, rival: Rival) -> bool:
        """Return whether the same file, with the same remote file, or the same folder still has that name."""
        occupant = self._tree.lookup(rival.parent, rival.name)
        return occupant is not None and (occupant.ino, occupant.file_id) == (rival.ino, rival.file_id)

    def _plain_place(self, conflict_copy: Inode) -> tuple[Remote, int, str] | None:
        """Return the remote file of a conflict copy, and the folder and the name that its remote name says."""
        bound = self._remotes.find(conflict_copy.file_id) if conflict_copy.file_id else None
        path = names.decode(bound.filename) if bound is not None else None
        folder, _, plain = (path or "").rpartition("/")
        parent = self._tree.resolve(folder)
        if bound is None or not plain or parent is None or not parent.is_dir:
            return None
        return bound, parent.ino, plain

    def _directory(self, folders: list[str], remote: Remote) -> int | None:
        """Return the inode of a folder, making missing ones; None if something of this machine is in the way."""
        parent = ROOT_INO
        for name in folders:
            inode = self._tree.lookup(parent, name)
            if inode is not None and not inode.is_dir:
                if not self.is_plain(inode):
                    return None
                self.make_conflict_copy(parent, name, inode, beside_folder=True)
                inode = None
            parent = inode.ino if inode is not None else self._make_directory(parent, name, remote).ino
        return parent

    def _make_directory(self, parent: int, name: str, remote: Remote) -> Inode:
        owner = self._ownership
        made = self._tree.create(
            parent, name, stat.S_IFDIR | owner.directory_mode,
            uid=owner.uid, gid=owner.gid, now_ns=time.time_ns(), implied=1, mtime_ns=remote.created_ns,
        )  # fmt: skip
        self.came(parent, name, made)
        return made

    def _show(self, remote: Remote, place: _Place) -> Inode:
        owner = self._ownership
        inode = self._tree.create(
            place.parent, place.name, stat.S_IFREG | owner.file_mode, uid=owner.uid, gid=owner.gid,
            now_ns=time.time_ns(), size=remote.size, file_id=remote.file_id, conflict_id=place.conflict_id,
            mtime_ns=remote.created_ns, atime_ns=remote.created_ns, ctime_ns=remote.created_ns,
        )  # fmt: skip
        self._remotes.show(remote.file_id, inode.ino)
        self.placed += 1
        self.came(place.parent, place.name, inode)
        return inode

    def _makes_way(self, parent: int, name: str, occupant: Inode, remote: Remote) -> bool:
        """Rename an older plain remote file to a conflict copy; return whether the name is free now."""
        bound = self._remotes.find(occupant.file_id) if occupant.file_id else None
        if bound is None or not self.is_plain(occupant) or bound.age_key > remote.age_key or occupant.conflict_id:
            return False
        self.make_conflict_copy(parent, name, occupant, beside_folder=False)
        return True

    def make_conflict_copy(self, parent: int, name: str, inode: Inode, *, beside_folder: bool) -> None:
        """Give a file the name of a conflict copy, because its own goes to another file, or to a folder (N3, N4)."""
        assert inode.file_id is not None
        spell = names.clash_name if beside_folder else names.conflict_name
        new_name = spell(name, inode.file_id, self._taken(parent))
        self._rename_entry(parent, name, new_name, inode, conflict_id=inode.file_id)

    def is_plain(self, inode: Inode) -> bool:
        """Return whether the inode is an unchanged remote file under the name that it has at the service."""
        return (
            inode.is_file
            and inode.file_id is not None
            and inode.state == ContentState.CLEAN
            and inode.nlink == 1
            and self._journal.of_inode(inode.ino) is None
            and not self._paths.is_alias(inode)
        )

    def _rename_entry(self, parent: int, name: str, new_name: str, inode: Inode, *, conflict_id: str | None) -> None:
        self._tree.rename_entry(parent, name, new_name)
        renamed = self._tree.update(inode.ino, conflict_id=conflict_id)
        self.went(parent, name, inode)
        self.came(parent, new_name, renamed)

    def _taken(self, parent: int) -> Callable[[str], bool]:
        return lambda name: self._tree.lookup(parent, name) is not None

    def came(self, parent: int, name: str, inode: Inode) -> None:
        """Report a name that an inode has got: to the kernel, and to those who listen."""
        self._invalidate(parent, name)
        self._foreign.came(parent, name, inode)

    def went(self, parent: int, name: str, inode: Inode) -> None:
        """Report a name that was taken away; `inode` is as it was before."""
        self._invalidate(parent, name)
        self._foreign.went(parent, name, inode)

    def _invalidate(self, parent: int, name: str) -> None:
        """Make the kernel look up a name again, and read the attributes of its folder again."""
        self._invalidator.entry(parent, name)
        self._invalidator.inode(parent)
