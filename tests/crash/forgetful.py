"""A file system in memory that forgets, as a disk does when the power goes, whatever was not synced.

    python -m tests.crash.forgetful MOUNTPOINT

Each file has bytes and synced bytes, each folder entries and synced entries; fsync makes the latter of the former, a
file's and a folder's apart. It says `ready` once it is mounted. Then a line on its standard input of

    cut FOLDER TARGET PERSISTENCE SEED    copies what a power cut would leave of a folder at the root to TARGET,
    fail ERRNO CHANCE CALLS               makes that part of the calls (write, sync, make) fail; with CHANCE 0 none

its words apart by tabs, and it says `done`.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, RequestContext, SetattrFields


class Persistence(StrEnum):
    """What reached the disk beyond what was synced; a file system may do any of these."""

    NOTHING = "nothing"
    # Names, and lengths, of files whose bytes did not come: they read as zeros.
    NAMES = "names"
    # Bytes, of files that are found only under the names that they had.
    BYTES = "bytes"
    # This and that.
    SOME = "some"


@dataclass(eq=False)
class Node:
    """A file or a folder."""

    ino: int
    mode: int
    nlink: int = 1
    data: bytearray = field(default_factory=bytearray)
    entries: dict[bytes, Node] = field(default_factory=dict)
    synced_data: bytes = b""
    synced_entries: dict[bytes, Node] = field(default_factory=dict)
    changed_ns: int = field(default_factory=time.time_ns)
    synced_ns: int = field(default_factory=time.time_ns)

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    def sync(self) -> None:
        """What is there now survives."""
        self.synced_data, self.synced_entries = bytes(self.data), dict(self.entries)
        self.synced_ns = self.changed_ns

    def left(self, *, names: bool, data: bool) -> tuple[bytes, int]:
        """(bytes, time) after a power cut; with `names` length and time are kept where the bytes are not."""
        if data:
            return bytes(self.data), self.changed_ns
        if not names:
            return self.synced_data, self.synced_ns
        length = len(self.data)
        return self.synced_data[:length].ljust(length, b"\0"), self.changed_ns


@dataclass(frozen=True)
class Trouble:
    """Which calls fail, how often, and with what."""

    errno: int = 0
    chance: float = 0.0
    calls: frozenset[str] = frozenset()


class Forgetful(pyfuse3.Operations):
    """No links but hard ones, no attributes but size, mode and a time."""

    enable_writeback_cache = False

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(pyfuse3.ROOT_INODE)
        self._nodes: dict[int, Node] = {}
        self.root = self._new(stat.S_IFDIR | 0o700)
        self._trouble = Trouble()
        # SQLite's wal-index is memory that its connections share, and need not be on a disk at all. A page of it that
        # cannot be written stays in memory on a disk, but FUSE may let it go; then SQLite reads what never was.
        self._spared: set[int] = set()

    # -- a disk that fails

    def fail(self, number: int, chance: float, calls: str) -> None:
        """Let that part of some calls end with an errno."""
        self._trouble = Trouble(number, chance, frozenset(calls.split(",")))

    def _may_fail(self, call: str, node: Node | None = None) -> None:
        if node is not None and node.ino in self._spared:
            return
        if call in self._trouble.calls and random.random() < self._trouble.chance:
            raise FUSEError(self._trouble.errno)

    # -- after a power cut

    def dump(self, folder: bytes, target: Path, persistence: Persistence, chance: random.Random) -> None:
        """Write what would be left of a folder at the root, which itself is there; its memory is given back."""
        some = persistence is Persistence.SOME
        # Of all folders or of none: a file that was moved is never gone from both of its places.
        names = persistence is Persistence.NAMES or (some and chance.random() < 0.5)
        self._dump(
            self.root.entries[folder], target, names,
            lambda: persistence is Persistence.BYTES or (some and chance.random() < 0.5), {},
        )  # fmt: skip
        for node in self._nodes.values():
            node.data, node.synced_data = bytearray(), b""

    def _dump(
        self, node: Node, target: Path, names: bool, is_data_left: Callable[[], bool], written: dict[int, Path]
    ) -> None:
        target.mkdir(mode=0o700)
        for name, child in sorted((node.entries if names else node.synced_entries).items()):
            path = target / os.fsdecode(name)
            if child.is_dir:
                self._dump(child, path, names, is_data_left, written)
            elif child.ino in written:
                path.hardlink_to(written[child.ino])
            else:
                path.touch(mode=0o600)
                data, changed_ns = child.left(names=names, data=is_data_left())
                path.write_bytes(data)
                os.utime(path, ns=(changed_ns, changed_ns))
                written[child.ino] = path

    # -- nodes

    def _new(self, mode: int) -> Node:
        ino = next(self._numbers)
        node = self._nodes[ino] = Node(ino, mode, nlink=2 if stat.S_ISDIR(mode) else 1)
        return node

    def _child(self, parent: int, name: bytes) -> Node:
        node = self._nodes[parent].entries.get(name)
        if node is None:
            raise FUSEError(errno.ENOENT)
        return node

    def _attributes(self, node: Node) -> EntryAttributes:
        entry = EntryAttributes()
        entry.st_ino, entry.st_mode, entry.st_nlink = node.ino, node.mode, node.nlink
        entry.st_size, entry.st_blksize, entry.st_blocks = len(node.data), 4096, -(-len(node.data) // 512)
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = node.changed_ns
        entry.entry_timeout = entry.attr_timeout = 3600
        return entry

    # -- names

    async def lookup(self, parent_inode: int, name: bytes, ctx: RequestContext) -> EntryAttributes:
        return self._attributes(self._child(parent_inode, name))

    async def getattr(self, inode: int, ctx: RequestContext) -> EntryAttributes:
        return self._attributes(self._nodes[inode])

    async def setattr(
        self, inode: int, attr: EntryAttributes, fields: SetattrFields, fh: int | None, ctx: RequestContext
    ) -> EntryAttributes:
        node = self._nodes[inode]
        if fields.update_size:
            self._may_fail("write", node)
            del node.data[attr.st_size :]
            node.data.extend(bytes(attr.st_size - len(node.data)))
        if fields.update_mode:
            node.mode = attr.st_mode
        node.changed_ns = attr.st_mtime_ns if fields.update_mtime else time.time_ns()
        return self._attributes(node)

    async def mkdir(self, parent_inode: int, name: bytes, mode: int, ctx: RequestContext) -> EntryAttributes:
        self._may_fail("make")
        node = self._nodes[parent_inode].entries[name] = self._new(stat.S_IFDIR | stat.S_IMODE(mode))
        return self._attributes(node)

    async def mknod(self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: RequestContext) -> EntryAttributes:
        node = self._nodes[parent_inode].entries[name] = self._new(mode)
        return self._attributes(node)

    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        self._may_fail("make")
        node = self._nodes[parent_inode].entries[name] = self._new(stat.S_IFREG | stat.S_IMODE(mode))
        if name.endswith(b"-shm"):
            self._spared.add(node.ino)
        return FileInfo(fh=node.ino, keep_cache=True), self._attributes(node)

    async def link(self, inode: int, new_parent_inode: int, new_name: bytes, ctx: RequestContext) -> EntryAttributes:
        self._may_fail("make")
        node = self._nodes[new_parent_inode].entries[new_name] = self._nodes[inode]
        node.nlink += 1
        return self._attributes(node)

    async def unlink(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        self._child(parent_inode, name).nlink -= 1
        del self._nodes[parent_inode].entries[name]

    async def rmdir(self, parent_inode: int, name: bytes, ctx: RequestContext) -> None:
        del self._nodes[parent_inode].entries[name]

    async def rename(
        self, parent_inode_old: int, name_old: bytes, parent_inode_new: int, name_new: bytes, flags: int,
        ctx: RequestContext,
    ) -> None:  # fmt: skip
        node = self._child(parent_inode_old, name_old)
        del self._nodes[parent_inode_old].entries[name_old]
        self._nodes[parent_inode_new].entries[name_new] = node

    async def opendir(self, inode: int, ctx: RequestContext) -> int:
        return inode

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for position, (name, node) in enumerate(sorted(self._nodes[fh].entries.items())):
            if position >= start_id and not pyfuse3.readdir_reply(token, name, self._attributes(node), position + 1):
                return

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        self._may_fail("sync")
        self._nodes[fh].sync()

    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = 4096
        data.f_blocks = data.f_bfree = data.f_bavail = 1 << 24
        data.f_files = data.f_ffree = data.f_favail = 1 << 20
        data.f_namemax = 255
        return data

    # -- bytes

    async def open(self, inode: int, flags: int, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=inode, keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        return bytes(self._nodes[fh].data[off : off + size])

    async def write(self, fh: int, off: int, buf: bytes) -> int:
        node = self._nodes[fh]
        self._may_fail("write", node)
        node.data.extend(bytes(max(0, off - len(node.data))))
        node.data[off : off + len(buf)] = buf
        node.changed_ns = time.time_ns()
        return len(buf)

    async def fsync(self, fh: int, datasync: bool) -> None:
        self._may_fail("sync")
        self._nodes[fh].sync()


async def serve(mountpoint: str) -> None:
    """Until standard input ends."""
    forgetful = Forgetful()
    pyfuse3.init(forgetful, mountpoint, {"fsname=forgetful", "default_permissions"})
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pyfuse3.main)
            print("ready", flush=True)
            await _obey(forgetful)
            nursery.cancel_scope.cancel()
    finally:
        pyfuse3.close(unmount=True)


async def _obey(forgetful: Forgetful) -> None:
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        match line.rstrip("\n").split("\t"):
            case ["cut", folder, target, persistence, seed]:
                forgetful.dump(os.fsencode(folder), Path(target), Persistence(persistence), random.Random(int(seed)))
            case ["fail", number, chance, calls]:
                forgetful.fail(int(number), float(chance), calls)
            case words:
                raise ValueError(words)
        print("done", flush=True)


if __name__ == "__main__":
    trio.run(serve, sys.argv[1])
