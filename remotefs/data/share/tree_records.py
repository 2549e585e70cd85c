"""What this tree says of an inode, as the records that machines share (X3)."""

from __future__ import annotations

import stat

from remotefs import names
from remotefs.data.share.records import EntryRecord, FileRecord, Record, check, entry_key, file_key
from remotefs.store.records import ROOT_INO, ContentState, Inode, Origin, Remote
from remotefs.store.store import Store

# Attributes that say how a file goes up from here; they are no part of it.
_OWN_XATTRS = b"user.remotefs."
# More names of one file than anybody gives it: its record would grow with each.
_MOST_NAMES = 1000


class TreeRecords:
    """Reads the records of inodes from the tree."""

    def __init__(self, store: Store) -> None:
        self._tree = store.tree
        self._xattrs = store.xattrs
        self._remotes = store.remotes
        self._journal = store.journal

    def of(self, ino: int) -> dict[str, Record]:
        """Return the records of an inode by key: none for one that is gone, or that only this machine has (N6)."""
        inode = self._tree.find(ino)
        if inode is None or inode.nlink == 0 or ino == ROOT_INO:
            return {}
        if inode.is_file:
            remote = self._shown(inode)
            found: dict[str, Record] = {} if remote is None else {file_key(remote.file_id): self._file(inode, remote)}
        else:
            found = {} if inode.implied else {entry_key(path): self._entry(inode) for path in self._paths(inode)}
        return {key: record for key, record in found.items() if _is_valid(key, record)}

    def is_plain(self, ino: int) -> bool:
        """Return whether a file is as the listing alone shows it, so that nothing is worth a record."""
        inode = self._tree.find(ino)
        remote = self._shown(inode) if inode is not None and inode.is_file else None
        if inode is None or remote is None or remote.origin != Origin.FOREIGN:
            return False
        is_named_so = self._paths(inode) == [names.decode(remote.filename)] or inode.conflict_id is not None
        return is_named_so and inode.mtime_ns == remote.created_ns and not self.attributes(inode.ino)

    def _shown(self, inode: Inode) -> Remote | None:
        """Return the remote file whose bytes an inode shows; None while it has others, or is about to get another id.

        The new id marks the inode, and its record says then what this one would say now.
        """
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        is_lasting = inode.state == ContentState.CLEAN and self._journal.of_inode(inode.ino) is None
        return remote if remote is not None and is_lasting and not remote.tombstoned else None

    def _file(self, inode: Inode, remote: Remote) -> FileRecord:
        paths = self._paths(inode)
        is_plain = paths == [names.decode(remote.filename)] or inode.conflict_id is not None
        return FileRecord(
            stat.S_IMODE(inode.mode), inode.uid, inode.gid, inode.mtime_ns, self.attributes(inode.ino), inode.size,
            remote.digest, () if is_plain else tuple(sorted(paths)),
        )  # fmt: skip

    def _entry(self, inode: Inode) -> EntryRecord:
        is_node = not inode.is_dir and inode.target is None
        return EntryRecord(
            "dir" if inode.is_dir else "node" if is_node else "symlink",
            inode.mode if is_node else stat.S_IMODE(inode.mode),
            inode.uid, inode.gid, inode.mtime_ns, self.attributes(inode.ino), inode.target, inode.rdev,
        )  # fmt: skip

    def _paths(self, inode: Inode) -> list[str]:
        return self._tree.paths_of(inode.ino) if inode.nlink <= _MOST_NAMES or inode.is_dir else []

    def attributes(self, ino: int) -> dict[bytes, bytes]:
        """Return the extended attributes of an inode that machines share."""
        return {name: value for name, value in self._xattrs.of(ino).items() if not name.startswith(_OWN_XATTRS)}


def _is_valid(key: str, record: Record) -> bool:
    """Return whether other machines take a record: else the entry stays on this one."""
    try:
        check(key, 1, record)
    except ValueError:
        return False
    return True
