"""The verbs on open files: open, create, read, write, flush, fsync, release.

Only these may wait, each with a deadline (A1). What close promises is W2, what counts as a close W4.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from remotefs.config import WritebackConfig
from remotefs.data.download.folder_readahead import Scans
from remotefs.data.files.file_bytes import FileBytes
from remotefs.data.files.lengths import Lengths
from remotefs.data.intents.intents import Intents
from remotefs.data.writeback.close_wait import CloseWait, Outcome
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.promoter import Promoter
from remotefs.errors import (
    AlreadyExists,
    IsADirectory,
    NotFound,
    OutOfSpace,
    RefusedError,
    RemotefsError,
    TransportError,
)
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store
from remotefs.vfs.handles import Handles, OpenFile
from remotefs.vfs.namespace import Caller, Namespace

_NS = 1_000_000_000
_DAY_NS = 86_400 * _NS


class Files:
    """Open files and their bytes."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        file_bytes: FileBytes,
        promoter: Promoter,
        closer: Closer,
        close_wait: CloseWait,
        handles: Handles,
        namespace: Namespace,
        config: WritebackConfig,
        wake_writeback: Callable[[], None],
        scans: Scans,
        lengths: Lengths,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._paths = intents.paths
        self._planner = intents.planner
        self._unlinker = intents.unlinker
        self._file_bytes = file_bytes
        self._promoter = promoter
        self._closer = closer
        self._close_wait = close_wait
        self._handles = handles
        self._namespace = namespace
        self._config = config
        self._wake_writeback = wake_writeback
        self._scans = scans
        self._lengths = lengths

    # -- opening

    async def open(self, ino: int, flags: int, caller: Caller) -> OpenFile:
        """A handle. Raises NotReadable where the bytes cannot be had and `O_TRUNC` does not give them up (R2)."""
        inode = self._tree.get(ino)
        if inode.is_dir:
            raise IsADirectory(f"inode {ino} is a directory")
        sure = True
        if not flags & os.O_TRUNC:
            sure = await self._lengths.verify(inode)
            self._file_bytes.check_readable(inode)
        handle = self._handles.open_file(ino, flags)
        handle.direct = not sure
        if flags & os.O_TRUNC:
            try:
                await self._empty(inode, caller)
            except BaseException:
                await self.release(handle.fh)
                raise
        elif not handle.writable:
            self._scans.opened(ino)
        return handle

    async def create(self, parent: int, name: bytes, mode: int, flags: int, caller: Caller) -> tuple[Inode, OpenFile]:
        """A new file and a handle; an existing one, which the kernel did not know of yet, is opened."""
        try:
            inode = self._namespace.mknod(parent, name, mode, 0, caller)
        except AlreadyExists:
            if flags & os.O_EXCL:
                raise
            inode = self._namespace.lookup(parent, name)
        handle = await self.open(inode.ino, flags, caller)
        return self._tree.get(inode.ino), handle

    async def _empty(self, inode: Inode, caller: Caller) -> None:
        """O_TRUNC: of an empty file it changes the times alone, as `> stamp` relies on."""
        if inode.size > 0:
            await self._file_bytes.truncate(inode.ino, 0)
        else:
            now = time.time_ns()
            self._tree.update(inode.ino, mtime_ns=now, ctime_ns=now)
        self._drop_privileges(self._tree.get(inode.ino), caller)

    def _drop_privileges(self, inode: Inode, caller: Caller) -> None:
        """Set-uid and set-gid go with the old bytes; for this one way of writing the kernel leaves that to us."""
        lost = inode.mode & (stat.S_ISUID | (stat.S_ISGID if inode.mode & stat.S_IXGRP else 0))
        if lost and caller.uid != 0:
            self._tree.update(inode.ino, mode=inode.mode & ~lost)

    # -- bytes

    async def read(self, fh: int, offset: int, size: int) -> bytes:
        """The bytes from `offset`, `size` of them or up to the end of the file."""
        handle = self._handles.file(fh)
        inode, length = self._tree.get(handle.ino), None
        if handle.direct:
            length = await self._lengths.true_size(inode)
        else:
            self._lengths.check_current(inode)
        async with self._lengths.judging():
            data = await self._file_bytes.read(handle.ino, offset, size, handle.window, length=length)
        handle.read_to = max(handle.read_to, offset + len(data))
        self._note_read(handle.ino)
        return data

    async def write(self, fh: int, offset: int, data: bytes) -> int:
        """The number of bytes written. Raises FileTooBig, OutOfSpace."""
        handle = self._handles.file(fh)
        if self._journal.is_longer_than(self._config.backlog_intents):
            raise OutOfSpace("more uploads are pending than the backlog may hold; see `remotefs status`")
        async with self._lengths.judging():
            written = await self._file_bytes.write(handle.ino, offset, data)
        handle.wrote = True
        return written

    async def truncate(self, ino: int, size: int, fh: int | None) -> None:
        """ftruncate(2) through a handle is a write; truncate(2) without one counts as a close (W4)."""
        async with self._lengths.judging():
            await self._file_bytes.truncate(ino, size)
        if fh is not None:
            self._handles.file(fh).wrote = True
        else:
            with self._making_up_for_failure(ino):
                await self._file_bytes.close(ino)
            # What was cut to the bytes that the service has is content already.
            self._promoter.request(ino)

    # -- closing

    async def flush(self, fh: int) -> None:
        """close(2) by one descriptor: uploads as `durability` says, if bytes were written since the last that counted.

        Raises RefusedError, or in `strict` TransportError where the file is not with the service in time.
        """
        handle = self._handles.file(fh)
        if not handle.wrote:
            return
        handle.wrote = False
        try:
            await self._close(handle.ino, waits=handle.counted == 0)
        except (RefusedError, TransportError):
            handle.counted += 1
            raise
        except BaseException:
            # No later close of it may call these bytes safe (H7).
            handle.wrote = True
            raise
        handle.counted += 1

    async def _close(self, ino: int, *, waits: bool) -> None:
        """Make what was written the content, by whichever handle, and return once it is as safe as a close promises."""
        await self._file_bytes.close(ino)
        inode = self._tree.get(ino)
        if waits and inode.state != ContentState.CLEAN and self._close_waits(inode):
            await self._wait_for_upload(ino)
        else:
            await self._file_bytes.sync(ino)

    async def fsync(self, fh: int) -> None:
        """What was written survives a power cut of this machine (W3)."""
        await self._file_bytes.sync(self._handles.file(fh).ino)

    async def release(self, fh: int) -> None:
        """The last descriptor of the handle is gone."""
        handle = self._handles.close_file(fh)
        try:
            with self._making_up_for_failure(handle.ino), suppress(NotFound):  # gone meanwhile
                await self._after_release(handle)
        finally:
            self._wake_writeback()

    @contextmanager
    def _making_up_for_failure(self, ino: int) -> Iterator[None]:
        """Nobody closes it after this: what failed now is left to the closer."""
        try:
            yield
        except (RemotefsError, OSError) as error:
            self._closer.failed(ino, error)
            raise

    async def _after_release(self, handle: OpenFile) -> None:
        inode = self._tree.get(handle.ino)
        if not self._handles.is_open(inode.ino):
            self._file_bytes.on_last_close(inode)
        if not handle.writable and not self._was_read_through(handle, inode):
            self._scans.looked_at(inode.ino)
        if inode.nlink == 0:
            self._release_unlinked(inode)
        elif handle.writable and not self._handles.is_open_for_write(handle.ino):
            await self._last_writer_left(inode)

    def _was_read_through(self, handle: OpenFile, inode: Inode) -> bool:
        """Whether a reader saw the end of a file; of one that is here the kernel may have had all pages."""
        return handle.read_to >= inode.size or (handle.read_to == 0 and self._file_bytes.is_here(inode))

    def _release_unlinked(self, inode: Inode) -> None:
        if self._handles.is_open(inode.ino):
            return
        self._unlinker.release(inode)
        if inode.staged_gen is not None:
            self._file_bytes.discard(inode.ino, inode.staged_gen)

    async def _last_writer_left(self, inode: Inode) -> None:
        # A generation that no FLUSH told of: O_TRUNC alone, or a mapping written after close (W4).
        await self._file_bytes.close(inode.ino)
        inode = self._tree.get(inode.ino)
        if inode.state == ContentState.CLEAN:
            self._promoter.request(inode.ino)
        elif inode.size == 0:
            self._planner.closed(inode.ino)

    def _close_waits(self, inode: Inode) -> bool:
        return (
            self._config.durability != "local"
            and inode.nlink > 0
            and inode.size > 0
            and not self._paths.is_local(inode)
            and not self._paths.is_temporary(inode)
        )

    async def _wait_for_upload(self, ino: int) -> None:
        outcome = await self._close_wait.wait(ino, self._config.close_wait_s)
        inode = self._tree.get(ino)
        if outcome is Outcome.DONE and inode.state == ContentState.CLEAN:
            return
        # close returns with the state pending, or it is not to be uploaded any more: then it has to survive here.
        await self._file_bytes.sync(ino)
        if outcome is Outcome.PENDING and self._config.durability == "strict":
            path = self._paths.path(inode)
            raise TransportError(f"{path}: not with the service yet; it stays pending and is retried")

    def _note_read(self, ino: int) -> None:
        """Relative atime: moved when it is older than the last change, or than a day."""
        inode = self._tree.find(ino)
        now = time.time_ns()
        if inode is not None and (
            inode.atime_ns <= max(inode.mtime_ns, inode.ctime_ns) or now - inode.atime_ns > _DAY_NS
        ):
            self._tree.note(ino, atime_ns=now)
