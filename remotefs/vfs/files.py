"""The verbs on open files: open, create, read, write, truncate; flush, fsync and release go on to `Closing`.

Only these may wait, each with a deadline (A1).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from remotefs.config import WritebackConfig
from remotefs.data.files.lengths import Lengths
from remotefs.data.files.writer import FileWriter
from remotefs.errors import AlreadyExists, IsADirectory, OutOfSpace
from remotefs.store.records import Inode
from remotefs.store.store import Store
from remotefs.vfs.closing import Closing
from remotefs.vfs.handles import Handles, OpenFile
from remotefs.vfs.namespace import Caller, Namespace
from remotefs.vfs.reading import Reading


class Files:
    """Opens files, and passes on what is done through their handles."""

    def __init__(
        self,
        store: Store,
        writer: FileWriter,
        lengths: Lengths,
        handles: Handles,
        namespace: Namespace,
        reading: Reading,
        closing: Closing,
        config: WritebackConfig,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._writer = writer
        self._lengths = lengths
        self._handles = handles
        self._namespace = namespace
        self._reading = reading
        self._closing = closing
        self._config = config

    # -- opening

    async def open(self, ino: int, flags: int, caller: Caller) -> OpenFile:
        """Open a file; return its handle.

        Raises NotReadable when the bytes cannot be had and `O_TRUNC` does not give them up (R2).
        """
        async with self._opening(self._tree.get(ino), flags, caller) as handle:
            return handle

    async def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[Inode, OpenFile]:
        """Make a file and open it; return its inode and its handle.

        The file may exist, unknown to the kernel yet: then it is opened. Raises AlreadyExists for that with `O_EXCL`.
        """
        try:
            inode = self._namespace.mknod(parent, name, mode, 0, caller)
        except AlreadyExists:
            if flags & os.O_EXCL:
                raise
            inode = self._namespace.lookup(parent, name)
        async with self._opening(inode, flags, caller) as handle:
            return self._tree.get(inode.ino), handle

    @asynccontextmanager
    async def _opening(self, inode: Inode, flags: int, caller: Caller) -> AsyncIterator[OpenFile]:
        """Make a handle, which is released if anything fails before the block ends.

        The kernel releases only handles that it has got, and a file that stays open for writing is never uploaded.
        """
        if inode.is_dir:
            raise IsADirectory(f"inode {inode.ino} is a directory")
        is_sure = bool(flags & os.O_TRUNC) or await self._reading.check(inode)
        handle = self._handles.open_file(inode.ino, flags)
        try:
            handle.direct = not is_sure
            if flags & os.O_TRUNC:
                await self._empty(inode, caller)
            elif not handle.writable:
                self._reading.opened(inode.ino)
            yield handle
        except BaseException:
            await self.release(handle.fh)
            raise

    async def _empty(self, inode: Inode, caller: Caller) -> None:
        """Empty a file for O_TRUNC; an empty file only gets new times, as `> stamp` relies on.

        The bytes go last: an open that fails has not emptied the file.
        """
        self._drop_privileges(inode, caller)
        if inode.size > 0:
            await self._writer.truncate(inode.ino, 0)
        else:
            now = time.time_ns()
            self._tree.update(inode.ino, mtime_ns=now, ctime_ns=now)

    def _drop_privileges(self, inode: Inode, caller: Caller) -> None:
        """Drop set-uid and set-gid with the old bytes: for O_TRUNC, unlike a write, the kernel leaves that to us."""
        lost = inode.mode & (stat.S_ISUID | (stat.S_ISGID if inode.mode & stat.S_IXGRP else 0))
        if lost and caller.uid != 0:
            self._tree.update(inode.ino, mode=inode.mode & ~lost)

    # -- bytes

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        """Return the bytes from `offset`, `size` of them or up to the end of the file."""
        return await self._reading.read(self._handles.file(fh), offset, size)

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        """Write `data` at `offset`; return the number of bytes written.

        Raises OutOfSpace, also when the journal holds more intents than the backlog may, FileTooBig.
        """
        handle = self._handles.file(fh)
        if self._journal.is_longer_than(self._config.backlog_intents):
            raise OutOfSpace("more uploads are pending than the backlog may hold; see `remotefs status`")
        async with self._lengths.judging():
            written = await self._writer.write(handle.ino, offset, data)
        handle.wrote = True
        return written

    async def truncate(self, ino: int, size: int, fh: int | None) -> None:
        """Cut or extend a file to `size` bytes.

        ftruncate(2) through a handle is a write; truncate(2) without one counts as a close (W4).
        """
        async with self._lengths.judging():
            await self._writer.truncate(ino, size)
        if fh is not None:
            self._handles.file(fh).wrote = True
        else:
            await self._closing.truncated(ino)

    # -- closing

    async def flush(self, fh: int) -> None:
        """Carry out one close(2) of a descriptor (see `Closing.flush`)."""
        await self._closing.flush(fh)

    async def fsync(self, fh: int) -> None:
        """Return once the bytes that were written survive a power cut of this machine (W3)."""
        await self._closing.fsync(fh)

    async def release(self, fh: int) -> None:
        """Close a handle whose last descriptor is gone."""
        await self._closing.release(fh)
