"""The service's side of a download: replies are read, their chunks stored, and whoever waits for them is told.

What is in memory is bounded: a stream holds no more than `_BATCH_CHUNKS` and one piece of its reply, and there are
MAX_STREAMS at most. Nothing is read from a connection while its chunks are being stored, so a slow disk holds the
service back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from remotefs.data.content.store import ContentStore
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.division import PARALLEL_BYTES
from remotefs.data.download.fetch import REDUNDANT_BYTES, Fetch
from remotefs.data.download.patience import Question
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.source import ContentSource, ContentStream
from remotefs.data.download.stream import Assembler, Stream
from remotefs.errors import (
    LengthDiffers,
    RemotefsError,
    RemoteNotFound,
    ReplyBroken,
    StaleError,
    TransportError,
)

_log = logging.getLogger(__name__)

# Replies read at one time, paused ones included; the oldest pause ends when one more is wanted.
MAX_STREAMS = 32
# How often in a row a body may be cut without bringing one chunk more than the last time.
_MAX_CUTS = 4
_FIRST_RETRY_S = 0.5
# Chunks are stored so many at a time, unless somebody waits for fewer: each time costs, however many they are.
_BATCH_CHUNKS = 4
# While others wait for their turn, a stream that brought so much ends, and its reader goes to the end of the queue.
_TURN_BYTES = 16 << 20


class Transfer:
    """Reads the replies of streams. What it learns of the service is `ranges`: None until a reply has told.

    `distrust` is told of an id that a body was handed out for whose end showed that it cannot have been the content.
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
        # Those that have a slot.
        self._running: set[Stream] = set()
        self.ranges: bool | None = None
        # Ids of which no reply has told the length.
        self.unannounced: set[str] = set()
        self.requests = 0
        self.bytes_received = 0

    @property
    def is_full(self) -> bool:
        """Whether a stream waits for others to end."""
        return self._slots.statistics().tasks_waiting > 0

    @property
    def is_crowded(self) -> bool:
        """Whether so many replies are read already that one that nobody waits for would be in the way."""
        return sum(stream.is_active for stream in self._running) > MAX_STREAMS // 2

    async def run(self, fetch: Fetch, stream: Stream, make_way: Callable[[], None]) -> None:
        """Bring what a stream is to bring, and tell all that wait for it; `make_way` ends one that nobody waits for."""
        if self._slots.available_tokens == 0:
            make_way()
        try:
            with stream.scope, self._content.hold(fetch.file_id):
                async with self._slots:
                    await self._follow(fetch, stream)
        except Exception as error:  # noqa: BLE001 - a bug in here must reach the readers, not end the mount
            fetch.fail(stream, self._blame(fetch, error), ranges=self.ranges)
        finally:
            self._running.discard(stream)
            stream.is_flowing = False
            fetch.end(stream)

    async def measure(self, file_id: str, question: Question) -> int:
        """The length of a file: as its reply announces it, else as its body turns out to have."""
        self.requests += 1
        async with self._source.download(file_id, priority=question) as reply:
            question.heard()
            if reply.total_bytes is not None:
                return reply.total_bytes
            return await _length_in_all(reply, 0, question.heard)

    async def _follow(self, fetch: Fetch, stream: Stream) -> None:
        """Read replies until the stream is at its end, going on where a body was cut."""
        stream.got_slot(trio.current_time())
        self._running.add(stream)
        furthest, cuts = -1, 0
        while (error := await self._read_reply(fetch, stream)) is not None:
            cuts = 0 if stream.next > furthest else cuts + 1
            furthest = max(furthest, stream.next)
            if isinstance(error, LengthDiffers) or cuts > _MAX_CUTS or not fetch.requests:
                raise error
            _log.info("%s: going on after %s", fetch.file_id, error)
            await trio.sleep(_FIRST_RETRY_S * 2**cuts)

    async def _read_reply(self, fetch: Fetch, stream: Stream) -> TransportError | None:
        """One request from where the stream is; what cut its body, if anything did. Raises what came before a body."""
        start = fetch.layout.start(stream.next)
        self.requests += 1
        async with self._source.download(
            fetch.file_id, offset=start, length=self._length(fetch, stream), priority=stream.ticket
        ) as reply:
            try:
                await self._pump(fetch, stream, reply)
            except TransportError as error:
                return error
            finally:
                stream.is_flowing = False
        return None

    def _length(self, fetch: Fetch, stream: Stream) -> int | None:
        """How much to ask for; None for all there is, where nothing is to be learned from a range."""
        layout = fetch.layout
        is_part = stream.stop < layout.count or (self.ranges is None and layout.size >= PARALLEL_BYTES)
        return layout.start(stream.stop) - layout.start(stream.next) if is_part else None

    async def _pump(self, fetch: Fetch, stream: Stream, reply: ContentStream) -> None:
        if not self._learn(fetch, stream, reply):
            return
        assembler = Assembler(fetch.layout, reply.offset)
        try:
            reply.expect(self._due(fetch, stream, assembler))
            async for piece in reply:
                if stream.next >= stream.stop < fetch.layout.count:
                    return  # a part was asked for, or became one, and more than that is coming
                assembler.feed(piece)
                self._note(fetch, stream, len(piece))
                if assembler.is_past_end:
                    length = await _length_in_all(reply, assembler.position)
                    raise LengthDiffers(fetch.file_id, fetch.layout.size, length, in_body=True)
                if not await self._take(fetch, stream, reply, assembler):
                    return
                reply.expect(self._due(fetch, stream, assembler))
        except TransportError:
            self._accept(fetch, stream, assembler, self._sure(fetch, reply, assembler))
            raise
        self._accept(fetch, stream, assembler, assembler.ready)
        if stream.next < stream.stop:
            raise _ended_early(fetch, stream, reply, assembler.position)

    def _note(self, fetch: Fetch, stream: Stream, size: int) -> None:
        now = trio.current_time()
        self.bytes_received += size
        fetch.heard(stream, now)
        if not stream.is_brief:
            flowing = sum(other.fills_stream for other in self._running)
            self._concurrency.received(size, flowing=flowing, reader_waiting=bool(fetch.requests), now=now)

    async def _take(self, fetch: Fetch, stream: Stream, reply: ContentStream, assembler: Assembler) -> bool:
        """Store what has come, once it is enough for whoever waits; whether more is to be read."""
        ready = self._sure(fetch, reply, assembler)
        if not ready or not (
            len(ready) >= _BATCH_CHUNKS or ready.stop >= stream.readahead_until or fetch.is_awaiting(ready)
        ):
            return True
        self._accept(fetch, stream, assembler, ready)
        # After its last byte only the end of the body is read, so that the connection can be used again.
        return stream.next >= stream.stop or await self._may_go_on(fetch, stream)

    def _due(self, fetch: Fetch, stream: Stream, assembler: Assembler) -> int:
        """How many bytes have to come before there is anything to be done with them."""
        batch = min(assembler.index + _BATCH_CHUNKS, stream.stop)
        return fetch.layout.start(fetch.first_due(assembler.index, batch)) - assembler.position

    def _sure(self, fetch: Fetch, reply: ContentStream, assembler: Assembler) -> range:
        """The chunks that are whole; where the length is not told, only the end of the body shows which is the last."""
        ready = assembler.ready
        is_last = reply.total_bytes is None and ready.stop == fetch.layout.count
        return range(ready.start, max(ready.stop - 1, ready.start)) if is_last else ready

    def _learn(self, fetch: Fetch, stream: Stream, reply: ContentStream) -> bool:
        """Take from a reply's head whether ranges work and where the stream really is; False: it is not needed."""
        layout = fetch.layout
        fetch.heard(stream, trio.current_time())
        if reply.total_bytes is None:
            self.unannounced.add(fetch.file_id)
        else:
            self.unannounced.discard(fetch.file_id)
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
        fetch.wake()  # whoever waited for this to be known, or may join it now
        return True

    def _accept(self, fetch: Fetch, stream: Stream, assembler: Assembler, ready: range) -> None:
        if not ready:
            return
        run = assembler.take(ready.stop)
        stored = self._shelf.put(fetch, run)
        fetch.not_on_disk |= not stored
        stream.next = ready.stop
        for request in list(fetch.requests):
            request.fill(run, on_disk=stored)

    async def _may_go_on(self, fetch: Fetch, stream: Stream) -> bool:
        """Whether the next bytes are wanted, now or before the pause is over."""
        following = self._content.next_missing(fetch.file_id, fetch.layout, stream.next)
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

    def _blame(self, fetch: Fetch, error: Exception) -> Exception:
        """What the readers are told."""
        if isinstance(error, RemoteNotFound):
            stale = StaleError(f"{fetch.file_id}: the service does not have it any more: {error}")
            stale.__cause__ = error
            return stale
        if not isinstance(error, RemotefsError):
            _log.error("%s: a download failed", fetch.file_id, exc_info=error)
        if isinstance(error, LengthDiffers) and not self._content.is_pinned(fetch.file_id):
            # Whatever is here was stored in the belief of the listed length.
            self._content.remove(fetch.file_id)
        if isinstance(error, LengthDiffers) and error.in_body:
            self._distrust(fetch.file_id)
        return error


async def _length_in_all(reply: ContentStream, so_far: int, heard: Callable[[], None] = lambda: None) -> int:
    """Read a body to its end, for nothing but its length."""
    async for piece in reply:
        heard()
        so_far += len(piece)
    return so_far


def _ended_early(fetch: Fetch, stream: Stream, reply: ContentStream, position: int) -> ReplyBroken:
    """What an end means that the transport took for a good one."""
    if reply.total_bytes is None and stream.stop == fetch.layout.count:
        return LengthDiffers(fetch.file_id, fetch.layout.size, position, in_body=True)
    return ReplyBroken(f"{fetch.file_id}: the body ended at byte {position}")
