"""Reading through a handle: the length that the kernel may rely on, the bytes, the access time, the folder scans."""

from __future__ import annotations

import time

from remotefs.clocks import DAY_NS
from remotefs.data.download.folder_readahead import Scans
from remotefs.data.files.lengths import Lengths
from remotefs.data.files.locator import Locator
from remotefs.data.files.reader import FileReader
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.vfs.handles import Handles, OpenFile

_NS = 1_000_000_000


class Reading:
    """Reads for open handles, keeps the access time, and reports to `scans` how files of a folder are read.

    `moves_atime` is False on a mount with `noatime` or `ro`: the kernel acts on neither for a FUSE file system.
    """

    def __init__(
        self,
        store: Store,
        reader: FileReader,
        locator: Locator,
        lengths: Lengths,
        handles: Handles,
        scans: Scans,
        *,
        moves_atime: bool = True,
    ) -> None:
        self._tree = store.tree
        self._reader = reader
        self._locator = locator
        self._lengths = lengths
        self._handles = handles
        self._scans = scans
        self._moves_atime = moves_atime

    async def check(self, inode: Inode) -> bool:
        """Check a file that is about to be opened; return whether its length is sure (R6).

        Raises NotReadable when its bytes cannot be had (R2), StaleError when its length proved to be another.
        """
        await self._reader.look_for(inode, self._scans.expects_look)
        is_sure = await self._lengths.verify(inode, self._scans.expects_look)
        self._reader.check_readable(inode)
        return is_sure

    def opened(self, ino: int) -> None:
        """Note that a file was opened for reading alone: its reader may open the next files of the folder, too."""
        self._scans.opened(ino)

    async def read(self, handle: OpenFile, offset: int, size: int) -> bytes:
        """Return the bytes from `offset`, `size` of them or up to the end. Raises as FileReader.read does."""
        inode, length = self._tree.get(handle.ino), None
        if handle.direct:
            length = await self._lengths.true_size(inode)
        else:
            self._lengths.check_current(inode)
        async with self._lengths.judging():
            data = await self._reader.read(handle.ino, offset, size, handle.window, length=length)
        handle.read_to = max(handle.read_to, offset + len(data))
        handle.read_bytes += len(data)
        if self._moves_atime:
            self._note_access(handle.ino)
        return data

    def released(self, handle: OpenFile, inode: Inode) -> None:
        """Note that a handle is closed: stop readahead after the last one, and tell `scans` how the file was read."""
        if not self._handles.is_open(inode.ino):
            self._reader.on_last_close(inode)
        if not handle.writable:
            self._scans.closed(inode, read_through=self._was_read_through(handle, inode))

    def _was_read_through(self, handle: OpenFile, inode: Inode) -> bool:
        """Return whether the reader read the file to its end, and not only its beginning and its end.

        Nothing read counts as all of it when the bytes are on this disk: the kernel may have had every page.
        """
        if handle.read_bytes == 0:
            return inode.size == 0 or self._locator.is_here(inode)
        return handle.read_to >= inode.size and 2 * handle.read_bytes >= inode.size

    def _note_access(self, ino: int) -> None:
        """Move the access time as `relatime` does: when it is older than the last change, or older than a day."""
        inode = self._tree.find(ino)
        now = time.time_ns()
        if inode is not None and (
            inode.atime_ns <= max(inode.mtime_ns, inode.ctime_ns) or now - inode.atime_ns > DAY_NS
        ):
            self._tree.note(ino, atime_ns=now)
