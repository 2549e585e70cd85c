"""Brings the tree in line with the map: what other machines say of files, folders, links and nodes (X3).

A record never makes or removes a file: the service's listing does. It gives a file that the tree shows its attributes
and its paths, and it makes and removes what has no bytes. Whatever a user has changed here and has not published yet is
left alone: it will have the later stamp.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable

import trio

from remotefs import names
from remotefs.data.kernel import Invalidator, Usage
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.data.share.records import EntryRecord, FileRecord, Record, parse_key
from remotefs.data.share.shared_records import record_of
from remotefs.data.share.tree_records import TreeRecords
from remotefs.store.records import ROOT_INO, ContentState, Inode, Remote
from remotefs.store.shared_log import SharedRow
from remotefs.store.store import Store

# So many records are applied without a turn for other tasks (H8).
_A_TURN = 20


class Applier:
    """Applies records that the tree does not show yet."""

    def __init__(
        self, store: Store, tree_records: TreeRecords, placer: TreePlacer, invalidator: Invalidator, usage: Usage
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._xattrs = store.xattrs
        self._remotes = store.remotes
        self._journal = store.journal
        self._shared_log = store.shared_log
        self._tree_records = tree_records
        self._placer = placer
        self._invalidator = invalidator
        self._usage = usage

    async def apply(self) -> None:
        """Apply what can be applied now; of files those that the tree shows."""
        for unapplied in (self._shared_log.unapplied_entries, self._shared_log.unapplied_files):
            after = ""
            # By ascending key: a folder comes before what lies in it. What cannot be applied yet is passed over.
            while rows := unapplied(_A_TURN, after=after):
                self._apply_all(rows)
                after = rows[-1].key
                await trio.lowlevel.checkpoint()

    def _apply_all(self, rows: Iterable[SharedRow]) -> None:
        """Apply records in one transaction."""
        with self._db.transaction(), self._shared_log.quietly():
            done = [row.key for row in rows if self._apply(row.key, record_of(row))]
            self._shared_log.applied(done)

    def _apply(self, key: str, record: Record) -> bool:
        """Apply a record; return whether it counts as applied, else it is tried again."""
        _, name = parse_key(key)
        if isinstance(record, FileRecord):
            return self._file(name, record)
        if record.kind == "gone":
            return self._gone(key, name)
        return self._entry(key, name, record)

    # -- files

    def _file(self, file_id: str, record: FileRecord) -> bool:
        remote = self._remotes.find(file_id)
        inode = self._tree.find(remote.ino) if remote is not None and remote.ino is not None else None
        if remote is None or inode is None:
            return False
        if inode.state != ContentState.CLEAN or self._shared_log.is_dirty(inode.ino):
            return True
        self._take_attributes(inode, record)
        return self._take_paths(inode, remote, record)

    def _take_paths(self, inode: Inode, remote: Remote, record: FileRecord) -> bool:
        """Give a file the names that a record says, as far as they are free; it keeps at least one.

        Return whether it has all of them: another file may have a name until the service forgets it.
        """
        plain = names.decode(remote.filename)
        wanted = list(record.paths) or ([plain] if plain else [])
        present = self._tree.paths_of(inode.ino)
        if not wanted or set(wanted) == set(present) or (not record.paths and inode.conflict_id is not None):
            return True
        if self._journal.of_inode(inode.ino) is not None:
            return False  # its upload under another name is under way, and decides
        for path in wanted:
            if path not in present:
                self._add_path(inode.ino, path)
        for parent, name in self._tree.names_of(inode.ino):
            before = self._tree.get(inode.ino)
            if self._tree.path_of(parent, name) not in wanted and before.nlink > 1:
                self._tree.unlink(parent, name, now_ns=time.time_ns())
                self._placer.went(parent, name, before)
                self._placer.remove_if_implied(parent)
        return set(wanted) == set(self._tree.paths_of(inode.ino))

    def _add_path(self, ino: int, path: str) -> None:
        """Give a file a further name, unless another one keeps it.

        Where a file was renamed it keeps the name against one that has it from its upload (N3); so it does here.
        """
        folder, _, name = path.rpartition("/")
        parent = self._folder(folder)
        if parent is None:
            return
        occupant = self._tree.lookup(parent, name)
        if occupant is not None and self._placer.is_plain(occupant) and not self._shared_log.is_dirty(occupant.ino):
            self._placer.make_conflict_copy(parent, name, occupant, beside_folder=False)
            occupant = None
        if occupant is None:
            linked = self._tree.link(ino, parent, name, now_ns=time.time_ns())
            self._placer.came(parent, name, linked)

    # -- folders, links and nodes

    def _entry(self, key: str, path: str, record: EntryRecord) -> bool:
        folder, _, name = path.rpartition("/")
        parent = self._folder(folder)
        inode = self._tree.lookup(parent, name) if parent is not None else None
        if parent is None or (inode is not None and self._shared_log.is_dirty(inode.ino)):
            return False
        if inode is not None and not _is_such(inode, record):
            if not self._makes_way(key, parent, name, inode, record):
                return False
            inode = None
        if inode is None:
            inode = self._tree.create(
                parent, name, _mode_of(record), uid=record.uid, gid=record.gid, now_ns=time.time_ns(),
                rdev=record.rdev, target=record.target,
            )  # fmt: skip
            self._placer.came(parent, name, inode)
        elif inode.implied:
            self._tree.update(inode.ino, implied=0)
        self._take_attributes(inode, record)
        self._shared_log.hold(key, inode.ino)
        return True

    def _makes_way(self, key: str, parent: int, name: str, inode: Inode, record: EntryRecord) -> bool:
        """Take away what has the name of an entry; return whether it is free now.

        A file of the service is shown beside it as a conflict copy: on all machines the entry has the name. An entry of
        another kind goes if it came from the map, and has nothing in it.
        """
        if inode.is_file:
            return self._make_conflict_copy(parent, name, inode, is_folder=record.kind == "dir")
        is_full = inode.is_dir and not self._tree.is_empty(inode.ino)
        if is_full or self._shared_log.holder(key) != inode.ino:
            return False
        self._remove(parent, name, inode)
        return True

    def _make_conflict_copy(self, parent: int, name: str, inode: Inode, *, is_folder: bool) -> bool:
        """Give an unchanged file the name of a conflict copy (N3); return whether it has it now."""
        is_pending = inode.state != ContentState.CLEAN or self._journal.of_inode(inode.ino) is not None
        if inode.file_id is None or is_pending or inode.conflict_id is not None:
            return False
        self._placer.make_conflict_copy(parent, name, inode, beside_folder=is_folder)
        return True

    def _gone(self, key: str, path: str) -> bool:
        """Remove what a tombstone names, if it came from the map; a folder with something in it stays, as implied."""
        holder, inode = self._shared_log.holder(key), self._tree.resolve(path)
        if holder is None or inode is None or inode.ino != holder or self._shared_log.is_dirty(holder):
            self._shared_log.release(key)
            return True
        folder, _, name = path.rpartition("/")
        parent = self._tree.resolve(folder)
        assert parent is not None
        self._shared_log.release(key)
        if inode.is_dir and not self._tree.is_empty(inode.ino):
            self._tree.update(inode.ino, implied=1)
            return True
        self._remove(parent.ino, name, inode)
        self._placer.remove_if_implied(parent.ino)
        return True

    def _remove(self, parent: int, name: str, inode: Inode) -> None:
        now = time.time_ns()
        removed = (self._tree.rmdir if inode.is_dir else self._tree.unlink)(parent, name, now_ns=now)
        self._placer.went(parent, name, inode)
        if removed.nlink == 0 and not self._usage.is_known(inode.ino):
            self._tree.forget(inode.ino)

    def _folder(self, path: str) -> int | None:
        """Return the folder at a path, making what is missing; None if something else is in the way.

        An unchanged file makes way: it becomes a conflict copy, as beside any folder.
        """
        inode = self._tree.get(ROOT_INO)
        for name in path.split("/") if path else ():
            found = self._tree.lookup(inode.ino, name)
            if found is not None and found.is_file:
                if not self._make_conflict_copy(inode.ino, name, found, is_folder=True):
                    return None
                found = None
            if found is None:
                found = self._tree.create(
                    inode.ino, name, stat.S_IFDIR | 0o755, uid=inode.uid, gid=inode.gid, now_ns=time.time_ns(),
                    implied=1,
                )  # fmt: skip
                self._placer.came(inode.ino, name, found)
            if not found.is_dir:
                return None
            inode = found
        return inode.ino

    # -- both

    def _take_attributes(self, inode: Inode, record: Record) -> None:
        mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(record.mode)
        wanted = (mode, record.uid, record.gid, record.mtime_ns)
        if (inode.mode, inode.uid, inode.gid, inode.mtime_ns) != wanted:
            with self._shared_log.exactly():
                self._tree.update(
                    inode.ino, mode=mode, uid=record.uid, gid=record.gid, mtime_ns=record.mtime_ns,
                    ctime_ns=time.time_ns(),
                )  # fmt: skip
        self._take_xattrs(inode.ino, record.xattrs)
        self._invalidator.inode(inode.ino)

    def _take_xattrs(self, ino: int, wanted: dict[bytes, bytes]) -> None:
        present = self._tree_records.attributes(ino)
        for name in present.keys() - wanted.keys():
            self._xattrs.note(ino, name, None)
        for name, value in wanted.items():
            if present.get(name) != value:
                self._xattrs.note(ino, name, value)


def _mode_of(record: EntryRecord) -> int:
    if record.kind == "node":
        return record.mode
    return (stat.S_IFDIR if record.kind == "dir" else stat.S_IFLNK) | record.mode


def _is_such(inode: Inode, record: EntryRecord) -> bool:
    """Return whether an inode can have the attributes of a record: its type, its target, its device are the same."""
    is_same = stat.S_IFMT(inode.mode) == stat.S_IFMT(_mode_of(record))
    return is_same and inode.target == record.target and (inode.is_dir or inode.rdev == record.rdev)
