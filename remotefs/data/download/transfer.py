"""The service's side of a download: read replies, store their chunks, and wake the requests that wait for them.

Memory is bounded: a stream holds at most `_BATCH_CHUNKS` and one piece of its reply, and there are at most MAX_STREAMS
streams. Nothing is read from a connection while its chunks are being stored, so a slow disk slows the service down.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import trio
from cachetools import LRUCache

from remotefs.data.content.store import ContentStore
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.division import PARALLEL_BYTES
from remotefs.data.download.fetch import REDUNDANT_BYTES, Fetch
from remotefs.data.download.patience import Question
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.source import ContentSource, ContentStream
from remotefs.data.download.stream import Assembler, Stream
from remotefs.data.download.vetting import MOST_ADDED_BYTES
from remotefs.errors import (
    DeadlineExceeded,
    LengthDiffers,
    RemotefsError,
    RemoteNotFound,
    ReplyBroken,
    StaleError,
    TransportError,
)

_log = logging.getLogger(__name__)

# Replies that are read at one time, paused ones included. When one more is needed, the oldest paused one ends.
MAX_STREAMS = 32
# How many times in a row a body may be cut before it has brought one more chunk.
_MAX_CUTS = 4
# The same while the call of a program waits for it, if the body was not cut but brought too little for too long.
_MAX_SLOW = 1
_FIRST_RETRY_S = 0.5
# Chunks are stored in batches of this many, unless a reader waits for fewer: each call costs, whatever its size.
_BATCH_CHUNKS = 4
# While other streams wait for a slot, one that has brought this many bytes ends, and its reader queues again.
_TURN_BYTES = 16 << 20
# So many ids are remembered whose last reply did not tell the length.
_UNANNOUNCED = 10_000


class Transfer:
    """Reads the replies of streams. `ranges` tells whether the service honours Range; None until a reply has shown it.

    `distrust` is called with an id when the end of a body shows that the bytes handed out cannot be the content.
    """

    def __init__(
        self,
        source: ContentSource,
        content: ContentStore,
        shelf: Shelf,
        concurrency: StreamConcurrency,
        distrust: Callable[[str], None],
    ) -> None:
        self._source = source
        self._distrust = distrust
        self._content = content
        self._shelf = shelf
        self._concurrency = concurrency
        self._slots = trio.CapacityLimiter(MAX_STREAMS)
        # The streams that have a slot.
        self._running: set[Stream] = set()
        self.ranges: bool | None = None
        # Ids whose last reply did not tell the length of the file.
        self._unannounced: LRUCache[str, None] = LRUCache(_UNANNOUNCED)
        self.requests = 0
        self.bytes_received = 0
        # When a byte of any file last came, or the head of its reply (trio's time).
        self.heard_at = -math.inf

    def was_length_told(self, file_id: str) -> bool:
        """Return whether the last reply for a file, if there was one, told how long it is."""
        return file_id not in self._unannounced

    @property
    def is_full(self) -> bool:
        """Return whether a stream waits for a slot."""
        return self._slots.statistics().tasks_waiting > 0

    @property
    def is_crowded(self) -> bool:
        """Return whether more than half of the slots are in use, so that prefetching would be in the way of readers."""
        return sum(stream.is_active for stream in self._running) > MAX_STREAMS // 2

    async def run(self, fetch: Fetch, stream: Stream, free_slot: Callable[[], None]) -> None:
        """Run a stream to its end, filling the requests that wait for its chunks; a failure reaches them as an error.

        `free_slot` ends a stream that nobody waits for.
        """
        if self._slots.available_tokens == 0:
            free_slot()
        try:
            with stream.scope, self._content.hold(fetch.file_id):
                async with self._slots:
                    await self._follow(fetch, stream)
        except Exception as error:  # noqa: BLE001 - a bug in here must reach the readers, not end the mount
            fetch.fail(stream, _readers_error(fetch, error), ranges=self.ranges)
            if isinstance(error, LengthDiffers):
                self._disown(fetch, distrust=error.in_body)
        finally:
            self._running.discard(stream)
            stream.is_flowing = False
            fetch.end(stream)

    async def measure(self, file_id: str, question: Question) -> int:
        """Return the length of a file in bytes, as its reply announces it, or else by reading its whole body.

        Raises LengthDiffers for a body that is longer than its file can be, RefusedError, TransportError.
        """
        self.requests += 1
        async with self._source.download(file_id, priority=question) as reply:
            question.heard()
            if reply.total_bytes is not None:
                return reply.total_bytes
            return await _length_in_all(reply, question.heard)

    async def _follow(self, fetch: Fetch, stream: Stream) -> None:
        """Read replies until the stream is at its end, continuing where a body was cut."""
        stream.got_slot(trio.current_time())
        self._running.add(stream)
        furthest, cuts = -1, 0
        while (error := await self._read_reply(fetch, stream)) is not None:
            cuts = 0 if stream.next > furthest else cuts + 1
            furthest = max(furthest, stream.next)
            if isinstance(error, LengthDiffers) or cuts > _most_cuts(fetch, error) or not fetch.requests:
                raise error
            _log.info("%s: going on after %s", fetch.file_id, error)
            await trio.sleep(_FIRST_RETRY_S * 2**cuts)

    async def _read_reply(self, fetch: Fetch, stream: Stream) -> TransportError | None:
        """Send one request from the position of the stream; return the error that cut its body, or None.

        Raises the error of a request that brought no body.
        """
        start = fetch.layout.start(stream.next)
        self.requests += 1
        async with self._source.download(
            fetch.file_id, offset=start, length=self._length(fetch, stream), priority=stream.ticket
        ) as reply:
            try:
                await self._read_body(fetch, stream, reply)
            except TransportError as error:
                return error
            finally:
                stream.is_flowing = False
        return None

    def _length(self, fetch: Fetch, stream: Stream) -> int | None:
        """Return how many bytes to request; None for the rest of the file, where a range would teach nothing."""
        layout = fetch.layout
        is_part = stream.stop < layout.count or (self.ranges is None and layout.size >= PARALLEL_BYTES)
        return layout.start(stream.stop) - layout.start(stream.next) if is_part else None

    async def _read_body(self, fetch: Fetch, stream: Stream, reply: ContentStream) -> None:
        if not self._learn(fetch, stream, reply):
            return
        assembler = Assembler(fetch.layout, reply.offset)
        try:
            reply.expect(self._bytes_until_useful(fetch, stream, assembler))
            async for piece in reply:
                if stream.next >= stream.stop < fetch.layout.count:
                    return  # the stream was a part, or was cut to one, and more than that is coming
                assembler.feed(piece)
                self._note(fetch, stream, len(piece))
                if assembler.is_past_end:
                    # Before the rest is read: until then its chunks would be taken for the listed file.
                    self._disown(fetch, distrust=False)
                    length = await _length_beyond(fetch, reply, assembler.position)
                    raise LengthDiffers(fetch.file_id, fetch.layout.size, length, in_body=True)
                if not await self._take(fetch, stream, reply, assembler):
                    return
                reply.expect(self._bytes_until_useful(fetch, stream, assembler))
        except TransportError:
            self._accept(fetch, stream, assembler, self._certain(fetch, reply, assembler))
            raise
        self._accept(fetch, stream, assembler, assembler.ready)
        if stream.next < stream.stop:
            raise _ended_early(fetch, stream, reply, assembler.position)

    def _note(self, fetch: Fetch, stream: Stream, size: int) -> None:
        now = trio.current_time()
        self.bytes_received += size
        self._heard(fetch, stream, now)
        if not stream.is_brief:
            flowing = sum(other.fills_stream for other in self._running)
            self._concurrency.received(size, flowing=flowing, reader_waiting=bool(fetch.requests), now=now)

    def _heard(self, fetch: Fetch, stream: Stream, now: float) -> None:
        self.heard_at = now
        fetch.heard(stream, now)

    async def _take(self, fetch: Fetch, stream: Stream, reply: ContentStream, assembler: Assembler) -> bool:
        """Store the chunks that have come, once they fill a batch or a request; return whether to read on."""
        ready = self._certain(fetch, reply, assembler)
        if not ready or not (
            len(ready) >= _BATCH_CHUNKS or ready.stop >= stream.readahead_until or fetch.is_awaiting(ready)
        ):
            return True
        self._accept(fetch, stream, assembler, ready)
        # After the last byte only the end of the body is read, so that the connection can be used again.
        return stream.next >= stream.stop or await self._may_go_on(fetch, stream)

    def _bytes_until_useful(self, fetch: Fetch, stream: Stream, assembler: Assembler) -> int:
        """Return how many bytes must come before a batch or a request is complete."""
        batch = min(assembler.index + _BATCH_CHUNKS, stream.stop)
        return fetch.layout.start(fetch.first_due(assembler.index, batch)) - assembler.position

    def _certain(self, fetch: Fetch, reply: ContentStream, assembler: Assembler) -> range:
        """Return the whole chunks that may be stored now.

        Where no length was announced, only the end of the body shows which chunk is the last.
        """
        ready = assembler.ready
        is_last = reply.total_bytes is None and ready.stop == fetch.layout.count
        return range(ready.start, max(ready.stop - 1, ready.start)) if is_last else ready

    def _learn(self, fetch: Fetch, stream: Stream, reply: ContentStream) -> bool:
        """Learn from the head of a reply whether ranges work and where the body begins; return whether to read it."""
        layout = fetch.layout
        self._heard(fetch, stream, trio.current_time())
        if reply.total_bytes is None:
            self._unannounced[fetch.file_id] = None
        else:
            self._unannounced.pop(fetch.file_id, None)
        if reply.total_bytes not in (None, layout.size):
            raise LengthDiffers(fetch.file_id, layout.size, reply.total_bytes)
        if stream.next > 0:
            self.ranges = reply.offset > 0
        elif reply.ranges is not None:
            self.ranges = reply.ranges
        if stream.next > 0 and reply.offset == 0:
            if fetch.has_other_whole(stream):
                return False
            fetch.widen(stream)
        elif self.ranges is False:
            fetch.widen(stream)
        stream.is_flowing = True
        fetch.wake()  # requests that waited for this, or may join the stream now
        return True

    def _accept(self, fetch: Fetch, stream: Stream, assembler: Assembler, ready: range) -> None:
        if not ready:
            return
        run = assembler.take(ready.stop)
        stored = self._shelf.put(fetch, run)
        fetch.not_on_disk |= not stored
        fetch.came_to(stream, ready.stop)
        for request in list(fetch.requests):
            request.fill(run, on_disk=stored)

    async def _may_go_on(self, fetch: Fetch, stream: Stream) -> bool:
        """Return whether to read on: at once, or because a reader needed more during a pause."""
        following = self._shelf.next_missing(fetch.file_id, fetch.layout, stream.next)
        redundant = fetch.layout.start(following) - fetch.layout.start(stream.next)
        if following >= stream.stop or (self.ranges is not False and redundant >= REDUNDANT_BYTES):
            return False
        if self.is_full and self.ranges and fetch.brought_by(stream) >= _TURN_BYTES:
            return False
        if stream.next < stream.readahead_until or (
            self.ranges is False and not fetch.not_on_disk and not stream.has_stopped_readahead
        ):
            return True
        return not self.is_full and await stream.pause()

    def _disown(self, fetch: Fetch, *, distrust: bool) -> None:
        """Drop all chunks of a file that are here: they were cut by a wrong length."""
        self._shelf.forget(fetch.file_id)
        try:
            if not self._content.is_pinned(fetch.file_id):
                self._content.remove(fetch.file_id)
            if distrust:
                self._distrust(fetch.file_id)
        except (RemotefsError, OSError) as error:
            # The readers have their error already, and a retry would fail in the same way.
            _log.error("%s: bytes that are not its content could not be dropped: %s", fetch.file_id, error)


def _most_cuts(fetch: Fetch, error: TransportError) -> int:
    is_slow = isinstance(error, DeadlineExceeded) and any(request.is_urgent for request in fetch.requests)
    return _MAX_SLOW if is_slow else _MAX_CUTS


def _readers_error(fetch: Fetch, error: Exception) -> Exception:
    """Return the error for the readers."""
    if isinstance(error, RemoteNotFound):
        stale = StaleError(f"{fetch.file_id}: the service does not have it any more: {error}")
        stale.__cause__ = error
        return stale
    if not isinstance(error, RemotefsError):
        _log.error("%s: a download failed", fetch.file_id, exc_info=error)
    return error


async def _length_beyond(fetch: Fetch, reply: ContentStream, so_far: int) -> int:
    """Return the length of a body that is longer than listed, as far as a file can be; raise LengthDiffers beyond.

    Most sources end such a body themselves.
    """
    async for piece in reply:
        so_far += len(piece)
        if so_far > fetch.layout.size + MOST_ADDED_BYTES:
            raise LengthDiffers(fetch.file_id, fetch.layout.size, None, in_body=True)
    return so_far


async def _length_in_all(reply: ContentStream, heard: Callable[[], None]) -> int:
    """Return the length of a body in bytes, by reading it to its end."""
    length = 0
    async for piece in reply:
        heard()
        length += len(piece)
    return length


def _ended_early(fetch: Fetch, stream: Stream, reply: ContentStream, position: int) -> ReplyBroken:
    """Return the error for a body that ended too early, although the transport found nothing wrong."""
    if reply.total_bytes is None and stream.stop == fetch.layout.count:
        return LengthDiffers(fetch.file_id, fetch.layout.size, position, in_body=True)
    return ReplyBroken(f"{fetch.file_id}: the body ended at byte {position}")
