"""Writing a file by inode: write, truncate, close, and the syncs that a close or fsync(2) promises.

Each change is made under the inode's lock, on the staged file that `CopyOnWrite` provides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio

from remotefs.data.content.file import digest_of
from remotefs.data.files.copy_on_write import CopyOnWrite
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.staging import Staging
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.errors import FileTooBig, InvalidArgument, LocalError
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store


class FileWriter:
    """Changes the bytes of inodes; refuses more than `max_file_bytes`, which the service would refuse later."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        staging: Staging,
        locks: InodeLocks,
        freezer: Freezer,
        copy_on_write: CopyOnWrite,
        locator: Locator,
        max_file_bytes: int,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._paths = intents.paths
        self._planner = intents.planner
        self._staging = staging
        self._locks = locks
        self._freezer = freezer
        self._copy_on_write = copy_on_write
        self._locator = locator
        self._max_file_bytes = max_file_bytes

    # -- changing

    async def write(self, ino: int, offset: int, data: bytes) -> int:
        """Write `data` at `offset` into the staged file; return the number of bytes written.

        Raises FileTooBig, OutOfSpace, StateUnusable, and as FileReader.read does when the content is fetched first.
        """
        async with self._locks.hold(ino):
            self._check_size(ino, offset + len(data))
            inode, staged = await self._copy_on_write.writable(self._locator.recorded(ino))
            try:
                written = staged.write(offset, data)
            except LocalError:
                if staged.size > inode.size:  # by what the disk took before it failed
                    self._tree.note(ino, size=staged.size)
                raise
            now = time.time_ns()
            # No look at the row between the bytes and their length, because that may fail.
            self._tree.note(ino, size=max(inode.size, offset + written), mtime_ns=now, ctime_ns=now)
            return written

    async def truncate(self, ino: int, size: int) -> Inode:
        """Cut or extend a file to `size` bytes; return the inode.

        Raises as write() does; NotReadable when bytes that cannot be had would have to stay.
        """
        async with self._locks.hold(ino):
            self._check_size(ino, size)
            inode = self._locator.recorded(ino)
            inode, staged = await self._copy_on_write.writable(inode, keep=min(size, inode.size))
            if inode.size != size or staged.size != size:  # a new one has its length
                staged.truncate(size)
            now = time.time_ns()
            self._tree.note(ino, size=size, mtime_ns=now, ctime_ns=now)
            return inode._replace(size=size, mtime_ns=now, ctime_ns=now)

    async def close(self, ino: int) -> bool:
        """Close the version that was written, so that it is uploaded; return whether there is one to upload.

        Bytes equal to those that the service has are not uploaded (W4).
        """
        async with self._locks.hold(ino):
            inode = self._tree.get(ino)
            if inode.state != ContentState.DIRTY:
                return False
            unchanged = await self._is_unchanged(inode)
            # If a version written in between is being uploaded, or its reply may still come, the service's version is
            # that one: then even equal bytes have to go up again.
            if unchanged and self._tree.get(ino).file_id == inode.file_id and not self._planner.may_be_rebound(ino):
                with self._db.transaction():
                    self._planner.schedule(self._save(ino, ContentLifecycle.of(self._tree.get(ino)).as_before()))
                self._freezer.calm(ino)
                return False
            # A disk may keep the row although nobody asked it to. Without its staged file it would count as damaged.
            await self._db.names_durable()
            self._planner.closed(ino)
            return True

    async def create(self, source: Path, size: int, make: Callable[[], Inode]) -> Inode:
        """Make a file of the first `size` bytes of a local file, to be uploaded; return its inode.

        `make` makes the file, empty, in the transaction that gives it its bytes: no reader sees it without them.

        Raises as `make` does, OutOfSpace, StateUnusable, CorruptionError when the local file is shorter: then nothing
        was made.
        """
        async with self._staging.copied(source, size) as give_name:
            with self._db.transaction():
                inode = make()
                life = ContentLifecycle.of(inode)
                give_name(inode.ino, life.staged_as())
                # The next file gets the same number after a rollback, and this one would be in its way.
                self._db.on_rollback(lambda: self._staging.discard(inode.ino, life.staged_as()))
                self._tree.update(inode.ino, size=size, **life.written()._asdict())
                closed = self._planner.closed(inode.ino)
        await self.sync(closed.ino)
        return closed

    async def stage(self, ino: int) -> None:
        """Copy clean content into staging, where it outlives the id that a REUPLOAD is about to replace (W7).

        Raises as write() does.
        """
        async with self._locks.hold(ino):
            inode = self._locator.recorded(ino)
            if inode.staged_gen is not None or inode.size == 0:
                return
            await self._copy_on_write.copy(inode, inode.content_gen, inode.size)
            saved = None
            try:
                if self._locator.still_holds(inode):
                    saved = self._save(ino, ContentLifecycle.of(self._tree.get(ino)).staged())
            finally:
                if saved is None:
                    self._staging.discard(ino, inode.content_gen)
            if saved is not None:
                self._planner.label(saved)

    # -- syncing

    async def sync(self, ino: int) -> None:
        """Return once the bytes and the row survive a power cut. Raises OutOfSpace, StateUnusable."""
        await self.sync_bytes(ino)
        if self._tree.find(ino) is not None:
            self._tree.update(ino)  # with its notes
        await self._db.durable()

    async def sync_bytes(self, ino: int) -> None:
        """Return once the bytes survive a power cut; to be found after it they need `Database.durable`, too.

        Raises OutOfSpace, StateUnusable.
        """
        inode = self._tree.find(ino)
        while inode is not None and self._locator.is_staged(inode):
            before, inode = inode, None
            try:
                await self._locator.staged(before).sync()
            except LocalError:
                inode = self._tree.find(ino)
                if inode is not None and inode.staged_gen == before.staged_gen:
                    raise
                # All its bytes were given up meanwhile, for others in a new staged file: sync that one.

    def _save(self, ino: int, life: ContentLifecycle) -> Inode:
        return self._tree.update(ino, **life._asdict())

    def _check_size(self, ino: int, size: int) -> None:
        if size < 0:
            raise InvalidArgument("a file cannot have a negative size")
        if size > self._max_file_bytes:
            path = self._paths.shown(self._tree.get(ino))
            limit = self._max_file_bytes // (1 << 20)
            raise FileTooBig(f"{path}: the service takes files of at most {limit} MiB")

    async def _is_unchanged(self, inode: Inode) -> bool:
        """Return whether the staged bytes are those that the service has."""
        remote = self._locator.bound(inode)
        if remote is None or remote.digest is None or remote.size != inode.size or self._paths.is_alias(inode):
            return False
        digest = await trio.to_thread.run_sync(digest_of, self._locator.staged(inode).path)
        return digest == remote.digest
