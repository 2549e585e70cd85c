"""The verbs on attributes: getattr, setattr, statfs."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from remotefs.config import UnreadableMode
from remotefs.data.files.reader import FileReader
from remotefs.store.disk import Disk
from remotefs.store.records import Entry, Inode
from remotefs.store.store import Store
from remotefs.vfs.files import Files
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.shown import AS_STORED, ShownAs, check_unchanged

BLOCK_BYTES = 4096
_READ_BITS = 0o444


@dataclass(frozen=True)
class AttributeChange:
    """The attributes that a setattr changes; None leaves one as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True)
class FileSystemSize:
    """The answer of statfs, in blocks of BLOCK_BYTES."""

    blocks: int
    free_blocks: int
    files: int


class Attributes:
    """Reads and changes the attributes of inodes, and shows them as the mount's options say (`shown_as`).

    `storage_bytes` is the most that the service stores (0: no bound).
    """

    def __init__(
        self,
        store: Store,
        namespace: Namespace,
        files: Files,
        reader: FileReader,
        disk: Disk,
        storage_bytes: int,
        unreadable_mode: UnreadableMode,
        shown_as: ShownAs = AS_STORED,
    ) -> None:
        self._tree = store.tree
        self._namespace = namespace
        self._files = files
        self._reader = reader
        self._disk = disk
        self._storage_bytes = storage_bytes
        self._hides_read_bits = unreadable_mode == "no-read"
        self._shown_as = shown_as
        # Asked for each entry of each listing.
        self._shows_stored = shown_as.is_stored

    def getattr(self, ino: int) -> Inode:
        """Return the inode. Raises NotFound."""
        return self._namespace.inode(ino)

    def shown(self, record: Inode | Entry) -> tuple[Inode | Entry, bool]:
        """Return an inode or an entry as programs see it, and whether the kernel may keep its attributes.

        It may not where `unreadable_mode` takes read bits away: nothing tells the kernel when a file gets them back.
        """
        shown = record if self._shows_stored else self._shown_as.of(record)
        if not self._hides_read_bits:
            return shown, True
        inode = record if isinstance(record, Inode) else self._tree.find(record.ino)
        if inode is None or not self._is_without_read_bits(inode):
            return shown, True
        return shown._replace(mode=shown.mode & ~_READ_BITS), False

    def _is_without_read_bits(self, inode: Inode) -> bool:
        return self._hides_read_bits and inode.is_file and not self._reader.is_readable(inode)

    async def setattr(self, ino: int, change: AttributeChange, fh: int | None) -> Inode:
        """Change attributes; return the inode. Only a new size touches the content, and may wait (A1).

        The content changes last: a change that fails has not cut it. Raises NotPermitted for an owner or a mode if
        the mount shows others than the stored ones.
        """
        inode = self._tree.get(ino)
        if not self._shows_stored:
            check_unchanged(self.shown(inode)[0], mode=change.mode, uid=change.uid, gid=change.gid)
            change = replace(change, mode=None, uid=None, gid=None)
        columns: dict[str, int] = {}
        if change.mode is not None:
            # A mode that starts from the one that is shown has no read bits; that takes none away.
            keeps = not change.mode & _READ_BITS and self._is_without_read_bits(inode)
            columns["mode"] = inode.mode & (~0o7777 | (_READ_BITS if keeps else 0)) | change.mode & 0o7777
        for name in ("uid", "gid", "atime_ns", "mtime_ns"):
            value = getattr(change, name)
            if value is not None:
                columns[name] = value
        if inode.implied:
            columns["implied"] = 0
        if columns or change.size is None:
            inode = self._tree.update(ino, ctime_ns=time.time_ns(), **columns)
        if change.size is not None:
            await self._files.truncate(ino, change.size, fh)
            # The truncation has set the present time.
            times = {name: columns[name] for name in ("atime_ns", "mtime_ns") if name in columns}
            if times:
                self._tree.note(ino, **times)
            inode = self._tree.get(ino)
        return inode

    def statfs(self) -> FileSystemSize:
        """Return as used the sum of file sizes, as free what the local disk and the service both still take (N5)."""
        files, used = self._tree.usage()
        free = max(self._disk.available(), 0)
        if self._storage_bytes:
            # An upper bound: others of the organization store there too, and only a refused upload would show that.
            free = min(free, max(self._storage_bytes - used, 0))
        return FileSystemSize((used + free) // BLOCK_BYTES, free // BLOCK_BYTES, files)
