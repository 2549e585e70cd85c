"""The bytes of a file of the tree: where they are now, and how they come to be written.

Bytes lie in staging while they are dirty, pending or not settled, else in the content store under the bound remote
file's id, else only at the service. Writing makes a staged file (`copyonwrite`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import trio

from remotefs.api.budget import Priority
from remotefs.data.content.file import digest_of
from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.readahead import ReadWindow
from remotefs.data.files.copy_on_write import CopyOnWrite
from remotefs.data.files.freezer import Freezer, Frozen
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.staged_file import StagedFile
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.lifecycle import ContentLifecycle
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.kernel import Usage, is_referred
from remotefs.errors import (
    DeadlineExceeded,
    FileTooBig,
    InvalidArgument,
    LocalError,
    NotReadable,
    StaleError,
)
from remotefs.store.records import ContentState, Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class FileBytes:
    """Reads, writes, truncates and closes by inode.

    More than `max_file_bytes` is refused here, before the service does; an id that the service turned out
    not to have is reported to `on_missing`.
    """

    def __init__(
        self,
        store: Store,
        planner: IntentPlanner,
        content: ContentStore,
        staging: Staging,
        downloader: Downloader,
        locks: InodeLocks,
        freezer: Freezer,
        in_flight: UploadsInFlight,
        usage: Usage,
        max_file_bytes: int,
        on_missing: Callable[[str], None],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._remotes = store.remotes
        self._planner = planner
        self._content = content
        self._staging = staging
        self._downloader = downloader
        self._locks = locks
        self._freezer = freezer
        self._in_flight = in_flight
        self._usage = usage
        self._max_file_bytes = max_file_bytes
        self._on_missing = on_missing
        # By inode the staged generation and the id of which it became the content, where the row could not be written.
        self._untold: dict[int, tuple[int | None, str | None]] = {}
        self._cow = CopyOnWrite(store, planner, content, staging, downloader, freezer, in_flight, self.check_readable)

    # -- reading

    def is_readable(self, inode: Inode) -> bool:
        """Whether the bytes are here or can be fetched (R2)."""
        if inode.staged_gen is not None or inode.size == 0:
            return True
        remote = self._bound(inode)
        return remote is not None and (bool(remote.downloadable) or self._content.has_all(remote.file_id))

    def check_readable(self, inode: Inode) -> None:
        """Raises NotReadable."""
        if not self.is_readable(inode):
            path = self._path(inode)
            raise NotReadable(
                f"{path}: the service does not give back what was uploaded elsewhere, and its bytes are not here; "
                "it can be replaced or removed"
            )

    async def read(
        self, ino: int, offset: int, size: int, window: ReadWindow | None, *, length: int | None = None
    ) -> bytes:
        """The bytes from `offset`, `size` of them or up to the end of the file; whole or an error (R6).

        `length` is that of the file where it is not the inode's.

        Raises NotReadable, StaleError, CorruptionError, TransportError, RefusedError.
        """
        inode = self._tree.get(ino)
        if self._is_staged(inode):
            async with self._locks.hold(ino):
                inode = self._tree.get(ino)
                if self._is_staged(inode):
                    return self._staged(inode).read(offset, max(0, min(size, inode.size - offset)))
        length = inode.size if length is None else length
        size = min(size, length - offset)
        if size <= 0:
            return b""
        if self._bound(inode) is not None or inode.file_id is None:
            self.check_readable(inode)
        # Else it was open when the service forgot it: what is here reads on, the rest is stale (R4).
        assert inode.file_id is not None
        try:
            return await self._downloader.read(inode.file_id, length, offset, size, window)
        except StaleError:
            self._on_missing(inode.file_id)
            raise
        except DeadlineExceeded as error:
            raise self._about(inode, error) from None

    # -- versions that are sent whatever is written (W4)

    async def freeze(self, ino: int) -> None:
        """Freeze what the last close left, if the file keeps changing; called before it is sent."""
        if self._cow.may_be_frozen(self._tree.find(ino)):
            async with self._locks.hold(ino):
                inode = self._tree.find(ino)
                if inode is not None and self._cow.may_be_frozen(inode):
                    await self._cow.freeze(inode)

    def frozen(self, ino: int) -> Frozen | None:
        """The version that is to be sent before any other."""
        return self._freezer.of(ino)

    def thaw(self, ino: int) -> None:
        """The frozen version was sent, or will not be; harmless where there is none."""
        self._freezer.thaw(ino)

    def thaw_unwanted(self) -> None:
        """Let frozen versions go that nobody asks to send any more."""
        for ino in self._freezer.inodes():
            if not self._planner.is_upload_wanted(ino):
                self._freezer.calm(ino)

    # -- writing

    async def write(self, ino: int, offset: int, data: bytes) -> int:
        """Write into the staged file; bytes written. Raises FileTooBig, OutOfSpace, and as read() does."""
        async with self._locks.hold(ino):
            self._check_size(ino, offset + len(data))
            staged = await self._cow.writable(self._told(ino))
            written = staged.write(offset, data)
            now = time.time_ns()
            size = max(self._tree.get(ino).size, offset + written)
            self._tree.note(ino, size=size, mtime_ns=now, ctime_ns=now)
            return written

    async def truncate(self, ino: int, size: int) -> Inode:
        """Cut or extend to `size` bytes. Raises as write() does, NotReadable where bytes would have to stay."""
        async with self._locks.hold(ino):
            self._check_size(ino, size)
            inode = self._told(ino)
            staged = await self._cow.writable(inode, keep=min(size, inode.size))
            staged.truncate(size)
            now = time.time_ns()
            self._tree.note(ino, size=size, mtime_ns=now, ctime_ns=now)
            return self._tree.get(ino)

    async def close(self, ino: int) -> bool:
        """A close that counts: make what was written the content that is to be uploaded; whether there was any.

        Bytes equal to what the service has are no upload (W4).
        """
        async with self._locks.hold(ino):
            inode = self._tree.get(ino)
            if inode.state != ContentState.DIRTY:
                return False
            unchanged = await self._is_unchanged(inode)
            # An upload of what the file held in between makes that the service's version: by its reply, come or coming.
            if unchanged and self._tree.get(ino).file_id == inode.file_id and not self._planner.may_be_rebound(ino):
                with self._db.transaction():
                    self._planner.schedule(self._save(ino, ContentLifecycle.of(self._tree.get(ino)).as_before()))
                self._freezer.calm(ino)
                return False
            self._planner.closed(ino)
            return True

    async def create(self, source: Path, size: int, make: Callable[[], Inode]) -> Inode:
        """Make a file that holds the first `size` bytes of a local one as soon as it has a name, to be uploaded.

        `make` makes it, empty, in the transaction that gives it its bytes. Raises what `make` does, OutOfSpace,
        StateUnusable, CorruptionError where the local file is shorter: then nothing was made.
        """
        async with self._staging.copied(source, size) as give_name:
            with self._db.transaction():
                inode = make()
                life = ContentLifecycle.of(inode)
                give_name(inode.ino, life.staged_as())
                # Else it would be in the way of the next file, which gets the same number then.
                self._db.on_rollback(lambda: self._staging.discard(inode.ino, life.staged_as()))
                self._tree.update(inode.ino, size=size, **life.written()._asdict())
                closed = self._planner.closed(inode.ino)
        await self.sync(closed.ino)
        return closed

    async def sync(self, ino: int) -> None:
        """Return once the bytes and the row survive a power cut."""
        await self.sync_bytes(ino)
        self._tree.save_notes()
        await self._db.durable()

    async def sync_bytes(self, ino: int) -> None:
        """Return once the bytes survive a power cut; they are found again once `Database.durable` has returned, too."""
        inode = self._tree.find(ino)
        while inode is not None and self._is_staged(inode):
            before, inode = inode, None
            try:
                await self._staged(before).sync()
            except LocalError:
                inode = self._tree.find(ino)
                if inode is not None and inode.staged_gen == before.staged_gen:
                    raise
                # All its bytes were given up meanwhile: those that came in their stead are to be synced.

    async def stage(self, ino: int) -> None:
        """Copy clean content into staging: there it outlives the id that a REUPLOAD is about to replace (W7)."""
        async with self._locks.hold(ino):
            inode = self._told(ino)
            if inode.staged_gen is not None or inode.size == 0:
                return
            await self._cow.copy(inode, inode.content_gen, inode.size)
            if not self._still_holds(inode):
                self._staging.discard(ino, inode.content_gen)
                return
            self._planner.label(self._save(ino, ContentLifecycle.of(self._tree.get(ino)).staged()))

    async def promote_to_content(self, ino: int) -> None:
        """Turn a confirmed staged file into content, once no write handle is open (see `Promoter`)."""
        if self._confirmed(ino) is None:
            return  # and so does not wait for whoever downloads what it is about to write to
        async with self._locks.hold(ino):
            inode = self._confirmed(ino)
            remote = self._bound(inode) if inode is not None else None
            if inode is None or inode.staged_gen is None or remote is None:
                return
            is_content = inode.size > 0 and self._content.has_all(remote.file_id)
            staged = self._staged(inode) if inode.size and not is_content else None
            # Or a power cut would leave a row that still asks for the staged file.
            await self._db.durable()
            if staged is not None:
                try:
                    await staged.sync()
                    staged.close()
                    await self._content.adopt(
                        remote.file_id, staged.path, inode.size, pinned=not remote.downloadable, digest=remote.digest
                    )
                except LocalError:
                    if self._still_holds(inode):
                        raise
            if self._still_holds(inode):
                self._untold[ino] = (inode.staged_gen, inode.file_id)
                self._tell_settled(inode)
            else:
                # Unlinked meanwhile, which waits for no lock (A1): nobody else would free what came in just now.
                self._planner.drop_content(remote.file_id)
            self._staging.discard(ino, inode.staged_gen)

    def _tell_settled(self, inode: Inode) -> None:
        """Write down that staged bytes are content. Raises OutOfSpace, StateUnusable: then only this process knows."""
        assert inode.staged_gen is not None
        with self._db.transaction():
            self._planner.drop_staged(inode.ino, inode.staged_gen)
            self._save(inode.ino, ContentLifecycle.of(self._tree.get(inode.ino)).promoted())
        self._untold.pop(inode.ino, None)

    def _told(self, ino: int) -> Inode:
        """Return an inode whose row says where its bytes are. Raises OutOfSpace, StateUnusable."""
        inode = self._tree.get(ino)
        if inode.staged_gen is not None and not self._is_staged(inode):
            self._tell_settled(inode)
        return self._tree.get(ino)

    def _is_staged(self, inode: Inode) -> bool:
        """Whether its bytes lie in staging: what became content does not, though its row may not say so yet."""
        is_untold = self._untold.get(inode.ino) == (inode.staged_gen, inode.file_id)
        return inode.staged_gen is not None and not is_untold

    def _confirmed(self, ino: int) -> Inode | None:
        """The inode, if the service has what is staged of it, and nothing is under way that may change that."""
        inode = self._tree.find(ino)
        if inode is None or inode.staged_gen is None or self._usage.is_open_for_write(ino) or ino in self._in_flight:
            return None
        # An attempt whose end is not known may still give it another id, and the content of this one would go.
        is_bound = inode.state == ContentState.CLEAN and not self._planner.may_be_rebound(ino)
        return inode if is_bound else None

    def _save(self, ino: int, life: ContentLifecycle) -> Inode:
        return self._tree.update(ino, **life._asdict())

    def _still_holds(self, before: Inode) -> bool:
        inode = self._tree.find(before.ino)
        return inode is not None and (inode.staged_gen, inode.file_id) == (before.staged_gen, before.file_id)

    def discard(self, ino: int, generation: int) -> None:
        """Let the staged bytes of a file that is gone go (see `sweep`)."""
        self._in_flight.cancel(ino)
        self._freezer.calm(ino)
        self._planner.drop_staged(ino, generation)

    async def sweep(self) -> None:
        """Remove the bytes of what was given up, once a power cut cannot bring back the names that it had."""
        file_ids, staged = self._planner.take_garbage()
        try:
            await self._db.durable()
        except BaseException:
            self._planner.give_garbage_back(file_ids, staged)
            raise
        for file_id in file_ids:
            if not is_referred(file_id, self._tree, self._usage):
                self._content.remove(file_id)
        for ino, generation in staged:
            inode = self._tree.find(ino)
            if inode is None or inode.nlink == 0 or inode.staged_gen != generation:
                self._staging.discard(ino, generation)

    def is_here(self, inode: Inode) -> bool:
        """Whether all its bytes are on this disk."""
        return inode.staged_gen is not None or inode.size == 0 or self.source_of(inode) is not None

    async def fetch(self, inode: Inode) -> None:
        """Bring all its bytes to this disk, for a command. Raises as read() does, and OutOfSpace."""
        if not self.is_here(inode) and inode.file_id is not None:
            await self._downloader.fetch_all(inode.file_id, inode.size, priority=Priority.REUPLOAD)

    def prefetch(self, inode: Inode) -> None:
        """Begin to bring its bytes to this disk, for somebody who will probably want them."""
        remote = self._bound(inode)
        if inode.staged_gen is None and remote is not None and remote.downloadable:
            self._downloader.prefetch(remote.file_id, inode.size)

    def on_last_close(self, inode: Inode) -> None:
        """Nobody has it open any more."""
        if inode.file_id is not None:
            self._downloader.stop_readahead(inode.file_id)

    def source_of(self, inode: Inode) -> Path | None:
        """The local file with all bytes of the inode, to be uploaded; None when it is empty or they are not here."""
        if self._is_staged(inode):
            return self._staged(inode).path
        return self._content.path_of(inode.file_id) if inode.file_id else None

    async def open_source(self, ino: int) -> BinaryIO | None:
        """The same, open for reading: it may be moved or replaced then, as staged bytes are that become content."""
        async with self._locks.hold(ino):
            path = self.source_of(self._tree.get(ino))
            return path.open("rb") if path is not None else None

    def _path(self, inode: Inode) -> str:
        return self._planner.path(inode) or f"inode {inode.ino}"

    def _about(self, inode: Inode, error: DeadlineExceeded) -> DeadlineExceeded:
        """The same for a person, who knows the file by its path."""
        return type(error)(f"{self._path(inode)}: {error}")

    def _bound(self, inode: Inode) -> Remote | None:
        return self._remotes.find(inode.file_id) if inode.file_id else None

    def _staged(self, inode: Inode) -> StagedFile:
        assert inode.staged_gen is not None
        return self._staging.open(inode.ino, inode.staged_gen)

    def _check_size(self, ino: int, size: int) -> None:
        if size < 0:
            raise InvalidArgument("a file cannot have a negative size")
        if size > self._max_file_bytes:
            path = self._path(self._tree.get(ino))
            limit = self._max_file_bytes // (1 << 20)
            raise FileTooBig(f"{path}: the service takes files of at most {limit} MiB")

    async def _is_unchanged(self, inode: Inode) -> bool:
        remote = self._bound(inode)
        if remote is None or remote.digest is None or remote.size != inode.size or self._planner.is_alias(inode):
            return False
        digest = await trio.to_thread.run_sync(digest_of, self._staged(inode).path)
        return digest == remote.digest
