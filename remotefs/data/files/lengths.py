"""Files whose content may be longer or shorter than the listing says (R6).

The service may add to generated media when they are downloaded. The kernel cuts a file at the size that it was given,
so the length is verified before the kernel may cache any of it: by the head of the reply when the file is opened, else
by reading the file to its end.

Another length than the listed one is believed only of such media, only when two separate requests got the same one,
and never when it is 0. Any other file cannot differ: the reply counts as broken, and the file's metadata is requested,
because the row here may be wrong.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

from cachetools import LRUCache

from remotefs.data.content.store import ContentStore
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.vetting import may_differ
from remotefs.data.files.resizing import Resizer
from remotefs.errors import LengthDiffers, OutOfSpace, ReplyBroken, StaleError
from remotefs.store.records import Inode, Remote
from remotefs.store.store import Store

# Ids whose length is remembered as sure. One that was pushed out is verified again, by one request.
_MOST_SURE = 10_000


class Lengths:
    """Knows which lengths are sure, and verifies the others. `on_missing` has the metadata of an id requested."""

    def __init__(
        self,
        store: Store,
        content: ContentStore,
        downloader: Downloader,
        resizer: Resizer,
        on_missing: Callable[[str], None],
    ) -> None:
        self._remotes = store.remotes
        self._content = content
        self._downloader = downloader
        self._resizer = resizer
        self._on_missing = on_missing
        # Ids whose length a reply has confirmed since the mount began; the values mean nothing.
        self._sure: LRUCache[str, None] = LRUCache(_MOST_SURE)

    def check_current(self, inode: Inode) -> None:
        """Raise StaleError when another inode shows the file by now: bytes that were read of this one may be wrong."""
        if self._is_replaced(inode):
            raise StaleError(
                f"inode {inode.ino} was replaced: what its file holds was not what it seemed; open it again"
            )

    async def verify(self, inode: Inode, expects_look: Callable[[int], bool]) -> bool:
        """Return whether the length of an inode that is about to be opened is sure.

        Starts a download if needed, of the beginning alone where `expects_look`, which gets the inode's number, says
        that no more will be read. A reply that announces no length leaves it unsure.

        Raises StaleError when the length is wrong: another inode has the name now. Raises as a read does.
        """
        self.check_current(inode)
        remote = self._in_doubt(inode)
        if remote is None:
            return True
        async with self.judging():
            if await self._downloader.verify_length(remote.file_id, inode.size, is_look=expects_look(inode.ino)):
                self._sure[remote.file_id] = None
                return True
        return False

    async def true_size(self, inode: Inode) -> int:
        """Read a file to its end whose length `verify` left unsure; return its length. Raises as a read does."""
        remote = self._in_doubt(inode)
        if remote is not None:
            with suppress(StaleError):
                async with self.judging():
                    await self._see_the_end(remote)
                    self._sure[remote.file_id] = None
        bound = self._remotes.find(inode.file_id) if inode.file_id else None
        return inode.size if bound is None else bound.size

    @asynccontextmanager
    async def judging(self) -> AsyncGenerator[None, None]:
        """Find out, when the block raises LengthDiffers, whether the reply or the row is wrong.

        Raises StaleError when the row was: another inode with the true length has the name now. Raises ReplyBroken when
        the reply was.
        """
        try:
            yield
        except LengthDiffers as error:
            raise await self._judged(error) from error

    async def _judged(self, error: LengthDiffers) -> StaleError | ReplyBroken:
        remote = self._remotes.find(error.file_id)
        if remote is None:
            return ReplyBroken(str(error))
        size = await self._proven(remote, error.actual_bytes)
        if size is None:
            self._on_missing(remote.file_id)
            return ReplyBroken(f"{error}, a length that this file cannot have")
        self._sure[remote.file_id] = None
        if (current := self._remotes.find(remote.file_id)) is not None and size != current.size:
            self._resizer.learned(current, size)
        return StaleError(f"{error}: it has its true length now, open it again")

    async def _see_the_end(self, remote: Remote) -> None:
        try:
            await self._downloader.fetch_all(remote.file_id, remote.size)
        except OutOfSpace:
            size = await self._downloader.measure(remote.file_id)
            if size != remote.size:
                raise LengthDiffers(remote.file_id, remote.size, size) from None

    async def _proven(self, remote: Remote, seen: int | None) -> int | None:
        """Return the length that is proven after one reply showed `seen`; None when no length is.

        `seen` is None when the reply showed that its length is another without showing which.
        """
        size = await self._measured(remote) if seen is None else seen
        if size in (remote.size, remote.size_as_listed):
            return size
        if not size or not may_differ(remote):
            return None
        return size if await self._measured(remote) == size else None

    async def _measured(self, remote: Remote) -> int | None:
        """Return the length that a reply shows; None when its body goes on beyond anything that the file can be."""
        try:
            return await self._downloader.measure(remote.file_id)
        except LengthDiffers:
            return None

    def _is_replaced(self, inode: Inode) -> bool:
        if inode.nlink > 0 or inode.staged_gen is not None or inode.size == 0:
            return False
        remote = self._remotes.find(inode.file_id) if inode.file_id else None
        return inode.file_id is None or (remote is not None and remote.ino not in (None, inode.ino))

    def _in_doubt(self, inode: Inode) -> Remote | None:
        if inode.file_id is None or inode.staged_gen is not None or inode.file_id in self._sure:
            return None
        remote = self._remotes.find(inode.file_id)
        if remote is None or not may_differ(remote):
            return None
        return None if inode.size and self._content.has_all(remote.file_id) else remote
