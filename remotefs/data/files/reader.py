"""Reading a file by inode: from its staged file, or from the content store and the service by id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from remotefs.api.budget import Priority
from remotefs.data.content.chunks import Sums
from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.readahead import ReadWindow
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.intents.paths import InodePaths
from remotefs.data.share.contents import SharedContents
from remotefs.errors import CorruptionError, DeadlineExceeded, NotReadable, OutOfSpace, StaleError
from remotefs.store.records import Inode, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class FileReader:
    """Reads the bytes of inodes, and brings them to this disk.

    Reports an id that the service turned out not to have to `on_missing`.
    """

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        content: ContentStore,
        locator: Locator,
        downloader: Downloader,
        locks: InodeLocks,
        shared: SharedContents,
        on_missing: Callable[[str], None],
    ) -> None:
        self._tree = store.tree
        self._paths = paths
        self._content = content
        self._locator = locator
        self._downloader = downloader
        self._locks = locks
        self._shared = shared
        self._on_missing = on_missing

    # -- may it be read

    def is_readable(self, inode: Inode) -> bool:
        """Return whether the bytes are on this disk or can be fetched (R2)."""
        if inode.staged_gen is not None or inode.size == 0:
            return True
        remote = self._locator.bound(inode)
        return remote is not None and (self._can_be_fetched(remote) or self._content.has_all(remote.file_id))

    def _can_be_fetched(self, remote: Remote) -> bool:
        return bool(remote.downloadable) or self._shared.may_have(remote.file_id)

    async def look_for(self, inode: Inode, expects_look: Callable[[int], bool]) -> None:
        """Find out, for a file that is about to be opened, whether the shared store has its bytes (X1).

        That begins to bring them: the beginning alone where `expects_look`, which gets the inode's number, says that no
        more will be read.
        """
        if not self._shared.is_configured or self._locator.is_here(inode):
            return
        remote = self._locator.bound(inode)
        if remote is not None and not remote.downloadable:
            is_look = expects_look(inode.ino)
            begin = partial(self._downloader.verify_length, remote.file_id, inode.size, is_look=is_look)
            await self._shared.look_for(remote, begin)

    @property
    def has_shared_store(self) -> bool:
        """Return whether there is a store that other machines put their uploads into."""
        return self._shared.is_configured

    def is_damaged(self, inode: Inode) -> bool:
        """Return whether the only bytes of the inode were found damaged (R3)."""
        if inode.staged_gen is not None:
            return self._locator.is_damaged(inode)
        return inode.file_id is not None and self._content.is_damaged(inode.file_id)

    def check_readable(self, inode: Inode) -> None:
        """Raise NotReadable when the bytes are neither on this disk nor can be fetched (R2)."""
        if self.is_readable(inode):
            return
        place = "neither here nor in the shared store" if self._shared.is_configured else "not here"
        raise NotReadable(
            f"{self._paths.shown(inode)}: the service does not give back what was uploaded elsewhere, "
            f"and its bytes are {place}; it can be replaced or removed"
        )

    # -- reading

    async def read(
        self, ino: int, offset: int, size: int, window: ReadWindow | None, *, length: int | None = None
    ) -> bytes:
        """Return the bytes from `offset`, `size` of them or up to the end of the file; all of them or an error (R6).

        `length` is the length of the file in bytes where it differs from the inode's size.

        Raises NotReadable, StaleError, CorruptionError, TransportError, RefusedError.
        """
        inode = self._tree.get(ino)
        if self._locator.is_staged(inode):
            async with self._locks.hold(ino):
                # While this waited for the lock, the staged file may have become content.
                inode = self._tree.get(ino)
                if self._locator.is_staged(inode):
                    return self._locator.read_staged(inode, offset, max(0, min(size, inode.size - offset)))
        length = inode.size if length is None else length
        size = min(size, length - offset)
        if size <= 0:
            return b""
        if self._locator.bound(inode) is not None or inode.file_id is None:
            self.check_readable(inode)
        # Else the service lost the file while it was open: bytes on this disk can be read on, the rest is stale (R4).
        assert inode.file_id is not None
        try:
            return await self._read(inode.file_id, length, offset, size, window)
        except StaleError:
            self._on_missing(inode.file_id)
            raise
        except DeadlineExceeded as error:
            raise type(error)(f"{self._paths.shown(inode)}: {error}") from None

    async def _read(self, file_id: str, length: int, offset: int, size: int, window: ReadWindow | None) -> bytes:
        try:
            return await self._downloader.read(file_id, length, offset, size, window)
        except CorruptionError:
            if not await self._content.renew_sums(file_id) and not await self._mend(file_id, length):
                raise
            return await self._downloader.read(file_id, length, offset, size, window)

    async def _mend(self, file_id: str, length: int) -> bool:
        """Fetch again what is damaged of pinned content, if the shared store has it; return whether it has (R3).

        Raises the errors of read().
        """
        if not self._content.is_damaged(file_id) or not await self._shared.still_has(file_id):
            return False
        self._content.let_mend(file_id)
        # This drops what is damaged, and nothing else of it is fetched.
        await self._content.verify(file_id)
        with suppress(OutOfSpace):
            await self._downloader.fetch_all(file_id, length, priority=Priority.REUPLOAD)
            self._content.pin(file_id)
        _log.warning("%s: its bytes on this disk were damaged, and were fetched from the shared store", file_id)
        return True

    def head(self, inode: Inode, size: int) -> bytes | None:
        """Return the first `size` bytes of an inode, fewer at its end; None unless they are on this disk. Never waits.

        Raises CorruptionError, StateUnusable.
        """
        size = min(size, inode.size)
        if self._locator.is_staged(inode):
            return self._locator.staged(inode).read(0, size)
        if size == 0:
            return b""
        return self._content.read(inode.file_id, 0, size) if inode.file_id else None

    def is_here(self, inode: Inode) -> bool:
        """Return whether all bytes of the inode are on this disk."""
        return self._locator.is_here(inode)

    async def open_source(self, ino: int) -> BinaryIO | None:
        """Open the local file with all bytes of an inode; None when it is empty or they are not on this disk.

        The descriptor stays good when the file is moved or replaced, as a staged file is that becomes content.
        """
        async with self._locks.hold(ino):
            path = self._locator.source_of(self._tree.get(ino))
            return path.open("rb") if path is not None else None

    def sums_of(self, inode: Inode) -> Sums | None:
        """Return the sums of all bytes of an inode with their digest, where they are on this disk and known."""
        return self._locator.sums_of(inode)

    # -- fetching ahead of a read

    async def fetch(self, inode: Inode) -> None:
        """Bring all bytes of the inode to this disk, for a command. Raises as read() does, and OutOfSpace."""
        if not self._locator.is_here(inode) and inode.file_id is not None:
            await self._downloader.fetch_all(inode.file_id, inode.size, priority=Priority.REUPLOAD)

    def prefetch(self, inode: Inode) -> None:
        """Begin to bring the bytes of the inode to this disk, for a reader that will probably want them."""
        remote = self._locator.bound(inode)
        if inode.staged_gen is None and remote is not None and self._can_be_fetched(remote):
            self._downloader.prefetch(remote.file_id, inode.size)

    def on_last_close(self, inode: Inode) -> None:
        """Stop the readahead of a file that no handle has open any more."""
        if inode.file_id is not None:
            self._downloader.stop_readahead(inode.file_id)
