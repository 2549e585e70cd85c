"""A tree in memory on bare pyfuse3, for comparison: `python scripts/bare_tree.py MOUNTPOINT FOLDERS FILES`.

FILES empty files lie evenly in FOLDERS folders. All that is done for a request is to fill in its answer: no file system
in this language on this library can be faster. Ends when it is unmounted.
"""

from __future__ import annotations

import stat
import sys

import pyfuse3
import trio

_ROOT = pyfuse3.ROOT_INODE
_TIMEOUT_S = 3600.0
_NOW_NS = 1_700_000_000_000_000_000


class BareTree(pyfuse3.Operations):
    """Inode numbers say everything: 1 is the root, then the folders, then the files in the order of their folders."""

    def __init__(self, folders: int, files: int) -> None:
        super().__init__()
        each = files // folders
        first = _ROOT + 1 + folders
        self._children: dict[int, list[tuple[bytes, int]]] = {
            _ROOT: [(b"dir%04d" % n, _ROOT + 1 + n) for n in range(folders)]
        }
        for n in range(folders):
            self._children[_ROOT + 1 + n] = [
                (b"file-%d.txt" % (n * each + k), first + n * each + k) for k in range(each)
            ]
        self._names = {ino: dict(entries) for ino, entries in self._children.items()}

    async def lookup(self, parent_inode, name, _ctx):
        ino = self._names[parent_inode].get(name)
        if ino is None:
            raise pyfuse3.FUSEError(2)
        return self._entry(ino)

    async def getattr(self, inode, _ctx):
        return self._entry(inode)

    async def opendir(self, inode, _ctx):
        return inode

    async def readdir(self, fh, start_id, token):
        for cookie, (name, ino) in enumerate(self._children[fh][start_id:], start_id + 1):
            if not pyfuse3.readdir_reply(token, name, self._entry(ino), cookie):
                return

    async def releasedir(self, fh):
        pass

    async def forget(self, inode_list):
        pass

    def _entry(self, ino):
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = ino
        is_folder = ino in self._children
        entry.st_mode = (stat.S_IFDIR | 0o755) if is_folder else (stat.S_IFREG | 0o644)
        entry.st_nlink = 2 if is_folder else 1
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = _NOW_NS
        entry.entry_timeout = entry.attr_timeout = _TIMEOUT_S
        return entry


def main() -> None:
    mountpoint, folders, files = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pyfuse3.init(BareTree(folders, files), mountpoint, {"fsname=bare-tree", "default_permissions"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main()
