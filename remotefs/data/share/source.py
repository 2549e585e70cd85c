"""Objects of the shared store as a source of content, before the service (X1).

The request for a file's beginning brings the header as well; one for a later part uses the header that was kept, or
asks for it first. Each chunk is compared with its checksum before a reader or the cache gets it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import xxhash
from cachetools import LRUCache

from remotefs.api.budget import Priority, Ticket
from remotefs.data.content.chunks import Sums
from remotefs.data.download.source import ContentSource, ContentStream
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.header import CheckedChunks, decode, header_bytes, layout_of
from remotefs.errors import CorruptionError, NotReadable, ObjectMissing, RemotefsError, ReplyBroken
from remotefs.objects.store import ObjectStore
from remotefs.store.records import Remote
from remotefs.store.remotes import Remotes

# Headers of so many chunks together stay in memory: 32 MiB, of 512 GiB.
_MOST_CHUNKS = 4 << 20
# A request of at most this many bytes is answered in one piece: each piece costs a thread.
_AT_ONCE_BYTES = 1 << 20


@dataclass(frozen=True)
class _Part:
    """The chunks of a file that one request brings."""

    remote: Remote
    first: int
    stop: int

    @classmethod
    def of(cls, remote: Remote, offset: int, length: int | None) -> _Part:
        layout = layout_of(remote.size)
        chunks = layout.touching(offset, remote.size if length is None else length)
        return cls(remote, chunks.start, chunks.stop)

    @property
    def start(self) -> int:
        """Return the offset in the file of the first byte."""
        return layout_of(self.remote.size).start(self.first)

    @property
    def length(self) -> int:
        return layout_of(self.remote.size).start(self.stop) - self.start


class SharedStream:
    """A body under way out of the store; see ContentStream. A damaged one raises ReplyBroken or CorruptionError."""

    ranges = True

    def __init__(
        self, source: SharedSource, part: _Part, sums: Sums, head: bytes, pieces: AsyncIterator[bytes]
    ) -> None:
        self.offset = part.start
        self.total_bytes = part.remote.size
        self._source = source
        self._part = part
        self._chunks = CheckedChunks(sums, part.first)
        self._head = head
        self._pieces = pieces

    @property
    def digest(self) -> str | None:
        """Return the xxh3-128 of the whole file in hex, by the header."""
        return self._chunks.digest

    def expect(self, size: int) -> None:
        """See ContentStream; the store has a size of pieces of its own."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while self._chunks.index < self._part.stop:
            piece, self._head = self._head or await anext(self._pieces, b""), b""
            if not piece:
                raise self._source.damage(self._part.remote, "it ends early")
            try:
                data = self._chunks.feed(piece)
            except ValueError as error:
                raise self._source.damage(self._part.remote, str(error)) from error
            if data:
                return data
        self._source.is_sound(self._part.remote)
        raise StopAsyncIteration


class SharedSource:
    """Reads from the store what it has, and the rest from `following`."""

    def __init__(self, contents: SharedContents, remotes: Remotes, following: ContentSource) -> None:
        self._contents = contents
        self._remotes = remotes
        self._following = following
        self._headers: LRUCache[str, Sums] = LRUCache(_MOST_CHUNKS, getsizeof=lambda sums: sums.layout.count + 1)
        # Ids whose object was found damaged: the first time it may have been the way.
        self._doubted: set[str] = set()

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AsyncGenerator[ContentStream, None]:
        """See ContentSource; raises ObjectStoreError, CorruptionError, NotReadable when neither source has it."""
        remote = self._remotes.find(file_id)
        async with AsyncExitStack() as stack:
            reply: ContentStream | None = None
            if remote is not None and self._contents.is_asked(remote):
                reply = await self._enter(stack, _Part.of(remote, offset, length), priority)
            if reply is None:
                request = self._following.download(file_id, offset=offset, length=length, priority=priority)
                reply = await stack.enter_async_context(request)
            yield reply

    async def read_back(self, remote: Remote) -> None:
        """Read an object from its first byte to its last, and compare all of it with everything that is known of it.

        Raises ObjectMissing, ObjectStoreError; ReplyBroken and, when it comes again, CorruptionError for one that is
        damaged or another one.
        """
        connection = self._contents.connection
        assert connection is not None
        self._headers.pop(remote.file_id, None)
        digest = xxhash.xxh3_128()
        async with AsyncExitStack() as stack:
            try:
                stream = await self._open(stack, connection, _Part.of(remote, 0, None), Ticket(Priority.PREFETCH))
            except ObjectMissing:
                await connection.check_marker()
                self._contents.is_missing(remote)
                raise
            async for piece in stream:
                digest.update(piece)
        if digest.hexdigest() != stream.digest:
            raise self.damage(remote, "its bytes are not those of its header", is_certain=True)

    def damage(self, remote: Remote, what: str, *, is_certain: bool = False) -> RemotefsError:
        """Return the error for an object that is not what was put: another try may help, and after that none."""
        self._headers.pop(remote.file_id, None)
        text = f"{remote.file_id}: its object in the shared store is damaged: {what}"
        if remote.file_id not in self._doubted and not is_certain:
            self._doubted.add(remote.file_id)
            return ReplyBroken(text)
        return CorruptionError(f"{text}; write the file again on a machine that has it")

    def is_sound(self, remote: Remote) -> None:
        """Note that a part of an object was read and is right."""
        self._doubted.discard(remote.file_id)

    async def _enter(self, stack: AsyncExitStack, part: _Part, ticket: Ticket) -> ContentStream | None:
        """Open an object; return None if the store turns out not to have it and the service may."""
        connection = self._contents.connection
        assert connection is not None
        try:
            return await self._open(stack, connection, part, ticket)
        except ObjectMissing:
            await connection.check_marker()
            self._contents.is_missing(part.remote)
            if not part.remote.downloadable:
                raise NotReadable(
                    f"{part.remote.filename}: it was uploaded elsewhere, and its bytes are not in the shared store"
                ) from None
            return None

    async def _open(
        self, stack: AsyncExitStack, connection: StoreConnection, part: _Part, ticket: Ticket
    ) -> SharedStream:
        remote = part.remote
        key, before = self._contents.key_of(remote.file_id), header_bytes(remote.size)
        sums = self._headers.get(remote.file_id)
        if sums is None and part.start > 0:
            sums = self._decoded(
                remote, await connection.watch(lambda o: o.get(key, length=before, waiting=ticket.waiting))
            )
        start = before + part.start if sums is not None else 0
        end = before + part.start + part.length
        pieces = await connection.watch(lambda o: _pieces(stack, o, key, start, end - start, ticket))
        head = b""
        if sums is None:
            while len(head) < before and (piece := await anext(pieces, b"")):
                head += piece
            sums, head = self._decoded(remote, head[:before]), head[before:]
        self._contents.is_there(remote.file_id)
        return SharedStream(self, part, sums, head, pieces)

    def _decoded(self, remote: Remote, header: bytes) -> Sums:
        try:
            sums = decode(header, remote.size)
        except ValueError as error:
            raise self.damage(remote, str(error)) from error
        # Whoever may write to the store can put another object of the same length under an id.
        if self._contents.digest_of(remote) not in {None, sums.digest}:
            raise self.damage(remote, "it has other bytes than the ones that were uploaded")
        self._headers[remote.file_id] = sums
        return sums


class _OnePiece(AsyncIterator[bytes]):
    """A body that is here already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def __anext__(self) -> bytes:
        if not self._data:
            raise StopAsyncIteration
        data, self._data = self._data, b""
        return data


async def _pieces(
    stack: AsyncExitStack, objects: ObjectStore, key: str, start: int, length: int, ticket: Ticket
) -> AsyncIterator[bytes]:
    """Request bytes. While the limit of bandwidth holds them back, the ticket says that the store is not to blame."""
    if length <= _AT_ONCE_BYTES:
        return _OnePiece(await objects.get(key, start=start, length=length, waiting=ticket.waiting))
    body = objects.stream(key, start=start, length=length, waiting=ticket.waiting)
    return await stack.enter_async_context(body)
