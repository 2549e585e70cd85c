"""Closing: what close(2) promises (W2), what counts as a close (W4), and what happens after the last handle.

The kernel sends FLUSH for each close(2) of a descriptor, and RELEASE once when the last descriptor of a handle is gone.
A program sees the error of a FLUSH and never that of a RELEASE. So FLUSH makes the bytes as safe as `durability` says,
and RELEASE does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from remotefs.config import WritebackConfig
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.files.writer import FileWriter
from remotefs.data.intents.intents import Intents
from remotefs.data.writeback.close_wait import CloseWait, Outcome
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.promoter import Promoter
from remotefs.errors import NotFound, RefusedError, RemotefsError, TransportError
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store
from remotefs.vfs.handles import Handles, OpenFile
from remotefs.vfs.reading import Reading


class LastClose:
    """Finishes a file after a handle of it is released, or after a truncation that no handle follows."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        writer: FileWriter,
        sweeper: Sweeper,
        promoter: Promoter,
        closer: Closer,
        handles: Handles,
        reading: Reading,
    ) -> None:
        self._tree = store.tree
        self._planner = intents.planner
        self._unlinker = intents.unlinker
        self._writer = writer
        self._sweeper = sweeper
        self._promoter = promoter
        self._closer = closer
        self._handles = handles
        self._reading = reading

    async def truncated(self, ino: int) -> None:
        """Close a file that truncate(2) changed without a handle, which counts as a close (W4)."""
        with self._leaving_to_closer(ino):
            await self._writer.close(ino)
        # A file that was cut to the bytes that the service has is confirmed already.
        self._promoter.request(ino)

    async def released(self, handle: OpenFile) -> None:
        """Finish the file of a handle that was just closed, as far as no other handle needs it."""
        with self._leaving_to_closer(handle.ino), suppress(NotFound):  # gone meanwhile
            inode = self._tree.get(handle.ino)
            self._reading.released(handle, inode)
            if inode.nlink == 0:
                self._release_unlinked(inode)
            elif handle.writable and not self._handles.is_open_for_write(handle.ino):
                await self._last_writer_left(inode)

    @contextmanager
    def _leaving_to_closer(self, ino: int) -> Iterator[None]:
        """Leave the file to the closer when the block fails: no later call would close it."""
        try:
            yield
        except (RemotefsError, OSError) as error:
            self._closer.failed(ino, error)
            raise

    def _release_unlinked(self, inode: Inode) -> None:
        if self._handles.is_open(inode.ino):
            return
        self._unlinker.release(inode)
        if inode.staged_gen is not None:
            self._sweeper.discard(inode.ino, inode.staged_gen)

    async def _last_writer_left(self, inode: Inode) -> None:
        # Closes a version that no FLUSH announced: O_TRUNC alone, or a mapping written after close (W4).
        await self._writer.close(inode.ino)
        inode = self._tree.get(inode.ino)
        if inode.state == ContentState.CLEAN:
            self._promoter.request(inode.ino)
        elif inode.size == 0:
            self._planner.closed(inode.ino)


class Closing:
    """Carries out flush, fsync and release; decides how long a close waits (`durability`, W2)."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        writer: FileWriter,
        close_wait: CloseWait,
        handles: Handles,
        last_close: LastClose,
        config: WritebackConfig,
        wake_writeback: Callable[[], None],
    ) -> None:
        self._tree = store.tree
        self._paths = intents.paths
        self._writer = writer
        self._close_wait = close_wait
        self._handles = handles
        self._last_close = last_close
        self._config = config
        self._wake_writeback = wake_writeback

    async def flush(self, fh: int) -> None:
        """Close what was written through a handle since its last FLUSH that counted, and make it as safe as W2 says.

        Raises RefusedError, or in `strict` TransportError when the file is not with the service in time; OutOfSpace,
        StateUnusable when it is not safe on this disk either.
        """
        handle = self._handles.file(fh)
        if not handle.wrote:
            return
        handle.wrote = False
        try:
            await self._close(handle.ino, waits=handle.counted == 0)
        except (RefusedError, TransportError):
            # The bytes are safe on this disk, so this close counted.
            handle.counted += 1
            raise
        except BaseException:
            # No later close of it may call these bytes safe (H7).
            handle.wrote = True
            raise
        handle.counted += 1

    async def fsync(self, fh: int) -> None:
        """Return once the bytes that were written survive a power cut of this machine (W3)."""
        await self._writer.sync(self._handles.file(fh).ino)

    async def release(self, fh: int) -> None:
        """Close a handle whose last descriptor is gone. Raises what failed; the closer tries it again."""
        handle = self._handles.close_file(fh)
        try:
            await self._last_close.released(handle)
        finally:
            self._wake_writeback()

    async def truncated(self, ino: int) -> None:
        """Close a file that truncate(2) changed without a handle (W4)."""
        await self._last_close.truncated(ino)

    async def _close(self, ino: int, *, waits: bool) -> None:
        """Close the version that was written, through any handle; return once it is as safe as a close promises."""
        await self._writer.close(ino)
        inode = self._tree.get(ino)
        if waits and inode.state != ContentState.CLEAN and self._waits_for_upload(inode):
            await self._wait_for_upload(ino)
        else:
            await self._writer.sync(ino)

    def _waits_for_upload(self, inode: Inode) -> bool:
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
        # The upload stays pending, or is not wanted any more: then the bytes have to survive on this disk.
        await self._writer.sync(ino)
        if outcome is Outcome.PENDING and self._config.durability == "strict":
            place = "in the shared store" if inode.state == ContentState.CLEAN else "with the service"
            raise TransportError(f"{self._paths.shown(inode)}: not {place} yet; it stays pending and is retried")
