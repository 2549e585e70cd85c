"""From the service to readers: a file is fetched at most once while it stays here, however many read it.

A read that misses becomes a Want and joins a Stream that is about to bring its bytes, or starts one. A stream stores
each chunk as it arrives and fills the wants of it at once. At its goal (what readers asked for and their readahead) it
pauses, then ends. Whether the service honours Range is learned from its answers: where it does, a read far from every
stream gets a request of its own (R1); where it does not, there is one stream a file, from byte 0, and it goes on to the
end, for the bytes will be needed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import trio

from remotefs.api.budget import Priority
from remotefs.config import CacheConfig
from remotefs.data.chunks import Layout
from remotefs.data.content import ContentStore
from remotefs.data.fetch import REDUNDANT_BYTES, Fetch
from remotefs.data.memory import ChunkMemory
from remotefs.data.readahead import ReadWindow
from remotefs.data.stream import Assembler, Stream
from remotefs.data.want import Want, WholeWant
from remotefs.errors import (
    LengthDiffers,
    LocalError,
    OutOfSpace,
    RemotefsError,
    RemoteNotFound,
    ReplyBroken,
    StaleError,
    TransportError,
)

_log = logging.getLogger(__name__)

# A reader that does nothing for this long has its connection closed; its next read costs a request.
PAUSE_S = 30.0
# Replies read at one time, paused ones included; the oldest pause ends when one more is wanted.
MAX_STREAMS = 32
# How often in a row a body may be cut without bringing one chunk more than the last time.
_MAX_CUTS = 4
_FIRST_RETRY_S = 0.5


class Reply(Protocol):
    """A body under way."""

    @property
    def offset(self) -> int:
        """Where it starts, at or before what was asked for."""
        ...

    @property
    def total_bytes(self) -> int | None:
        """The length of the whole file, None where the reply does not tell."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class Source(Protocol):
    """The one method of the API client that is needed here."""

    def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Priority
    ) -> AbstractAsyncContextManager[Reply]:
        """The content from `offset`, `length` bytes of it, as a hint; raises RefusedError, TransportError."""
        ...


@dataclass(frozen=True)
class DownloadStatistics:
    """What is under way, and what was fetched so far. `ranges` is None until a reply has told."""

    streams: int
    paused: int
    readers_waiting: int
    requests: int
    bytes_received: int
    ranges: bool | None


class Downloader:
    """Owns the streams. `run` must be running for a read that misses to end."""

    def __init__(self, source: Source, content: ContentStore, memory: ChunkMemory, config: CacheConfig) -> None:
        self._source = source
        self._content = content
        self._memory = memory
        self._readahead_bytes = config.readahead_bytes
        self._slots = trio.CapacityLimiter(MAX_STREAMS)
        self._waiting = trio.CapacityLimiter(math.inf)
        self._send, self._receive = trio.open_memory_channel[tuple[Fetch, Stream]](math.inf)
        # By id and size: an id that turns out to have another length is another file.
        self._fetches: dict[tuple[str, int], Fetch] = {}
        self._ranges: bool | None = None
        self._requests = 0
        self._bytes_received = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry streams until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scan)
            task_status.started()
            async for fetch, stream in self._receive:
                nursery.start_soon(self._carry, fetch, stream)

    def limit_waiting_reads(self, reads: int) -> None:
        """Let at most so many reads wait for the network at a time, where the kernel would hold up others for more."""
        self._waiting.total_tokens = reads

    async def _scan(self) -> None:
        try:
            await self._content.scan()
        except OSError as error:
            # What cannot be listed is not there to be evicted; all else goes on.
            _log.error("the content folder cannot be read whole: %s", error)

    async def read(self, file_id: str, size_bytes: int, offset: int, size: int, window: ReadWindow | None) -> bytes:
        """Exactly the bytes from `offset`, clipped at `size_bytes`: all of them or an error (R6).

        Raises StaleError when the file is gone, LengthDiffers when it is not of that size, CorruptionError when the
        only copy is damaged, RefusedError and TransportError as the service has it.
        """
        size = min(size, size_bytes - offset)
        if size <= 0:
            return b""
        ahead = window.advance(offset, size, self._readahead_bytes) if window is not None else 0
        data = self._content.read(file_id, offset, size)
        if data is not None:
            self._move_on(file_id, size_bytes, offset, size + ahead)
            return data
        fetch = self._fetch(file_id, size_bytes)
        want = Want(fetch.layout, offset, size, self._worthwhile(fetch.layout, offset, size, ahead))
        async with self._waiting:
            await self._obtain(fetch, want)
        return want.result()

    async def fetch_all(self, file_id: str, size_bytes: int, *, priority: Priority = Priority.INTERACTIVE_READ) -> None:
        """Return once all of a file is on the disk. Raises as read() does, and OutOfSpace."""
        if self._content.has_all(file_id):
            return
        if size_bytes == 0:
            self._content.put(file_id, 0, 0, b"")
            return
        fetch = self._fetch(file_id, size_bytes)
        await self._obtain(fetch, WholeWant(fetch.layout, priority))

    def forget(self, file_id: str) -> None:
        """Stop what goes on for a file that is gone; its readers get StaleError."""
        for fetch in [fetch for fetch in self._fetches.values() if fetch.file_id == file_id]:
            fetch.abandon(StaleError(f"{file_id}: the service does not have it any more"))
        self._memory.drop(file_id)

    def statistics(self) -> DownloadStatistics:
        """A record of now."""
        streams = [stream for fetch in self._fetches.values() for stream in fetch.streams]
        return DownloadStatistics(
            streams=len(streams),
            paused=sum(stream.is_paused for stream in streams),
            readers_waiting=sum(len(fetch.wants) for fetch in self._fetches.values()),
            requests=self._requests,
            bytes_received=self._bytes_received,
            ranges=self._ranges,
        )

    # -- the reader's side

    def _fetch(self, file_id: str, size_bytes: int) -> Fetch:
        key = (file_id, size_bytes)
        if key not in self._fetches:
            self._fetches[key] = Fetch(file_id, Layout(size_bytes, self._content.chunk_bytes))
        return self._fetches[key]

    def _worthwhile(self, layout: Layout, offset: int, size: int, ahead: int) -> int:
        """A file no larger than the window is fetched to its end: the rest of it is cheaper than a second request."""
        return layout.size - offset - size if layout.size <= self._readahead_bytes else ahead

    def _move_on(self, file_id: str, size_bytes: int, offset: int, size: int) -> None:
        """Keep the stream ahead of a reader that finds its bytes here."""
        fetch = self._fetches.get((file_id, size_bytes))
        if fetch is not None:
            reach = fetch.layout.touching(offset, size)
            for stream in fetch.streams:
                if reach.start <= stream.next <= reach.stop:
                    stream.join(0, reach.stop)

    async def _obtain(self, fetch: Fetch, want: Want) -> None:
        fetch.wants.add(want)
        try:
            with self._content.hold(fetch.file_id):
                while True:
                    self._fill_from_here(fetch, want)
                    if not want.missing:
                        return
                    for stream in fetch.plan(want, ranges=self._ranges):
                        self._send.send_nowait((fetch, stream))
                    await want.changed()
        finally:
            fetch.wants.discard(want)
            self._drop_if_idle(fetch)

    def _fill_from_here(self, fetch: Fetch, want: Want) -> None:
        for index in sorted(want.missing):
            if isinstance(want, WholeWant):
                here = self._content.next_missing(fetch.file_id, fetch.layout, index) > index
                chunk: bytes | None = b"" if here else None
            else:
                chunk = self._local(fetch, index)
            if chunk is not None:
                want.fill(index, chunk, on_disk=True)

    def _local(self, fetch: Fetch, index: int) -> bytes | None:
        layout = fetch.layout
        chunk = self._content.read(fetch.file_id, layout.start(index), layout.length(index))
        return chunk if chunk is not None else self._memory.get(fetch.file_id, index)

    # -- the service's side

    async def _carry(self, fetch: Fetch, stream: Stream) -> None:
        if self._slots.available_tokens == 0:
            self._end_oldest_pause()
        try:
            with stream.scope, self._content.hold(fetch.file_id):
                async with self._slots:
                    await self._follow(fetch, stream)
        except Exception as error:  # noqa: BLE001 - a bug in here must reach the readers, not end the mount
            fetch.fail(stream, self._blame(fetch, error), ranges=self._ranges)
        finally:
            fetch.end(stream)
            self._drop_if_idle(fetch)

    async def _follow(self, fetch: Fetch, stream: Stream) -> None:
        """Read replies until the stream is at its end, going on where a body was cut."""
        furthest, cuts = -1, 0
        while (error := await self._read_reply(fetch, stream)) is not None:
            cuts = 0 if stream.next > furthest else cuts + 1
            furthest = max(furthest, stream.next)
            if isinstance(error, LengthDiffers) or cuts > _MAX_CUTS or not fetch.wants:
                raise error
            _log.info("%s: going on after %s", fetch.file_id, error)
            await trio.sleep(_FIRST_RETRY_S * 2**cuts)

    async def _read_reply(self, fetch: Fetch, stream: Stream) -> TransportError | None:
        """One request from where the stream is; what cut its body, if anything did. Raises what came before a body."""
        start = fetch.layout.start(stream.next)
        length = None if stream.stop == fetch.layout.count else fetch.layout.start(stream.stop) - start
        self._requests += 1
        async with self._source.download(fetch.file_id, offset=start, length=length, priority=stream.priority) as reply:
            try:
                await self._pump(fetch, stream, reply)
            except TransportError as error:
                return error
        return None

    async def _pump(self, fetch: Fetch, stream: Stream, reply: Reply) -> None:
        if not self._learn(fetch, stream, reply):
            return
        layout, last = fetch.layout, None
        assembler = Assembler(layout, reply.offset)
        async for piece in reply:
            self._bytes_received += len(piece)
            if stream.next == stream.stop < layout.count:
                return  # a part was asked for, and more than that is coming
            for index, chunk in assembler.feed(piece):
                if index == layout.count - 1 and reply.total_bytes is None:
                    last = chunk  # only the end of the body will show that it is the last
                else:
                    self._accept(fetch, stream, index, chunk)
            if assembler.is_past_end:
                raise LengthDiffers(fetch.file_id, layout.size, None)
            if last is None and stream.next < stream.stop and not await self._may_go_on(fetch, stream):
                return
        if last is not None:
            self._accept(fetch, stream, layout.count - 1, last)
        if stream.next < stream.stop:
            raise _ended_early(fetch, stream, reply, assembler.position)

    def _learn(self, fetch: Fetch, stream: Stream, reply: Reply) -> bool:
        """Take from a reply's head whether ranges work and where the stream really is; False: it is not needed."""
        layout = fetch.layout
        if reply.total_bytes not in (None, layout.size):
            raise LengthDiffers(fetch.file_id, layout.size, reply.total_bytes)
        if stream.next > 0:
            self._ranges = reply.offset > 0
        if stream.next > 0 and reply.offset == 0:
            if fetch.has_other_whole(stream):
                return False
            stream.next, stream.stop = 0, layout.count
            fetch.nudge()  # all may join it now
        stream.is_flowing = True
        return True

    def _accept(self, fetch: Fetch, stream: Stream, index: int, chunk: bytes) -> None:
        stored = self._store(fetch, index, chunk)
        fetch.spilled |= not stored
        stream.next = index + 1
        for want in list(fetch.wants):
            want.fill(index, chunk, on_disk=stored)

    def _store(self, fetch: Fetch, index: int, chunk: bytes) -> bool:
        """Whether it is on the disk; else it is in memory, and reading goes on (A8)."""
        try:
            self._content.put(fetch.file_id, fetch.layout.size, fetch.layout.start(index), chunk)
        except LocalError as error:
            if not isinstance(error, OutOfSpace):
                _log.warning("content cannot be kept: %s", error)
            self._memory.put(fetch.file_id, index, chunk)
            return False
        return True

    async def _may_go_on(self, fetch: Fetch, stream: Stream) -> bool:
        """Whether the next bytes are wanted, now or before the pause is over."""
        following = self._content.next_missing(fetch.file_id, fetch.layout, stream.next)
        redundant = fetch.layout.start(following) - fetch.layout.start(stream.next)
        if following >= stream.stop or (self._ranges is not False and redundant >= REDUNDANT_BYTES):
            return False
        if stream.next < stream.goal or (self._ranges is False and not fetch.spilled):
            return True
        if self._slots.statistics().tasks_waiting:
            return False
        return await stream.pause(PAUSE_S)

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
        return error

    def _end_oldest_pause(self) -> None:
        for fetch in self._fetches.values():
            for stream in fetch.streams:
                if stream.is_paused:
                    stream.release()
                    return

    def _drop_if_idle(self, fetch: Fetch) -> None:
        if fetch.is_idle:
            self._fetches.pop((fetch.file_id, fetch.layout.size), None)


def _ended_early(fetch: Fetch, stream: Stream, reply: Reply, position: int) -> ReplyBroken:
    """What an end means that the transport took for a good one."""
    if reply.total_bytes is None and stream.stop == fetch.layout.count:
        return LengthDiffers(fetch.file_id, fetch.layout.size, position)
    return ReplyBroken(f"{fetch.file_id}: the body ended at byte {position}")
