"""The readers' side of a download: a read returns its bytes once they are here, and starts the streams it needs.

A file is fetched at most once while it stays here, however many programs read it. The note of the package tells how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import trio

from remotefs.api.budget import Priority
from remotefs.data.content.chunks import Layout
from remotefs.data.content.store import ContentStore
from remotefs.data.download.division import PARALLEL_BYTES, Division
from remotefs.data.download.drop_behind import DropBehind
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.patience import Patience, noting_wait
from remotefs.data.download.read_request import ReadRequest, WholeFileRequest
from remotefs.data.download.readahead import LOOK_BYTES, ReadWindow
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.stream import Stream
from remotefs.data.download.transfer import Transfer
from remotefs.errors import DeadlineExceeded, LengthDiffers, StaleError
from remotefs.supervision import Supervisor


@dataclass(frozen=True)
class DownloadStatistics:
    """The streams and readers of now, and the totals so far. `ranges` is None until a reply has shown it."""

    streams: int
    paused: int
    readers_waiting: int
    requests: int
    bytes_received: int
    ranges: bool | None
    hits: int
    misses: int
    hit_bytes: int
    missed_bytes: int


class Downloader:
    """Owns the fetches of all files. A read that misses ends only while `run` is running."""

    def __init__(
        self,
        transfer: Transfer,
        content: ContentStore,
        shelf: Shelf,
        division: Division,
        patience: Patience,
        supervisor: Supervisor,
    ) -> None:
        self._transfer = transfer
        self._content = content
        self._shelf = shelf
        self._division = division
        self._patience = patience
        self._supervisor = supervisor
        self._drop_behind = DropBehind(content.duplicate)
        self._waiting = trio.CapacityLimiter(math.inf)
        self._send, self._receive = trio.open_memory_channel[tuple[Fetch, Stream]](math.inf)
        # By id and size: when an id turns out to have another length, its chunks are divided again.
        self._fetches: dict[tuple[str, int], Fetch] = {}
        # The reads that bytes on this machine answered, and those that needed the service.
        self._hits = self._misses = self._hit_bytes = self._missed_bytes = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run streams until cancelled."""
        supervisor = self._supervisor
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.keep, "looking through the content folder", self._content.scan)
            nursery.start_soon(supervisor.keep, "letting go of pages that were read", self._drop_behind.run)
            nursery.start_soon(
                supervisor.keep, "telling readers whether the service is there", self._follow_connectivity
            )
            task_status.started()
            async for fetch, stream in self._receive:
                nursery.start_soon(supervisor.guard, "a download", partial(self._run_transfer, fetch, stream))

    def limit_waiting_reads(self, reads: int) -> None:
        """Let at most `reads` reads wait for the network at a time: more would make the kernel hold up others."""
        self._waiting.total_tokens = reads

    async def _follow_connectivity(self) -> None:
        """Wake readers when the service is out of reach; once it is back, let them request again."""
        recovered = self._patience.times_lost
        while True:
            await self._patience.changed()
            for fetch in self._fetches.values():
                if self._patience.is_lost:
                    fetch.wake()
                elif self._patience.times_lost > recovered:
                    fetch.retry_given_up()
            if not self._patience.is_lost:
                recovered = self._patience.times_lost

    async def read(self, file_id: str, size_bytes: int, offset: int, size: int, window: ReadWindow | None) -> bytes:
        """Return exactly `size` bytes from `offset`, fewer only at the end of the file: all of them or an error (R6).

        Raises StaleError when the file is gone, LengthDiffers when it is not of that size, CorruptionError when the
        only copy is damaged, DeadlineExceeded when the service sends nothing for it, RefusedError and TransportError
        as the client does.
        """
        size = min(size, size_bytes - offset)
        if size <= 0:
            return b""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        division = self._division
        ahead = (
            window.advance(offset, size, division.most_ahead(file_id, layout), division.growth)
            if window is not None
            else 0
        )
        data = self._shelf.read(file_id, offset, size)
        self._count(size, is_hit=data is not None)
        if data is not None:
            self._move_on(file_id, layout, offset, size, ahead)
        elif window is not None and window.is_look:
            look = ReadRequest(layout, offset, size, max(LOOK_BYTES - size, 0), is_look=True)
            data = await self._fetched(self._fetch(file_id, layout), look, 0)
        else:
            request = ReadRequest(layout, offset, size, division.worthwhile(layout, offset, size, ahead))
            data = await self._fetched(self._fetch(file_id, layout), request, ahead)
        if ahead and size_bytes >= PARALLEL_BYTES:
            self._drop_behind.passed(file_id, offset, size)
        return data

    def _count(self, size: int, *, is_hit: bool) -> None:
        if is_hit:
            self._hits += 1
            self._hit_bytes += size
        else:
            self._misses += 1
            self._missed_bytes += size

    async def fetch_all(self, file_id: str, size_bytes: int, *, priority: Priority = Priority.INTERACTIVE_READ) -> None:
        """Return once the whole file is on the disk. Raises OutOfSpace, and the errors of read()."""
        if self._shelf.has_all(file_id):
            return
        if size_bytes == 0:
            self._content.put(file_id, 0, 0, b"")
            return
        # The request names each chunk.
        self._content.check_fits(file_id, size_bytes)
        layout = Layout(size_bytes, self._content.chunk_bytes)
        await self._obtain(self._fetch(file_id, layout), WholeFileRequest(layout, priority))

    async def verify_length(self, file_id: str, size_bytes: int, *, is_look: bool = False) -> bool:
        """Return whether the file certainly has this length: a reply announced it, or all of the file is here.

        If nothing of it is here, a stream is opened for the reader to go on from; with `is_look`, only as much is
        requested as a look needs. Raises LengthDiffers, and the errors of read().
        """
        layout = Layout(size_bytes, self._content.chunk_bytes)
        missing = self._shelf.next_missing(file_id, layout, 0)
        if size_bytes == 0 and (actual := await self.measure(file_id)) > 0:
            raise LengthDiffers(file_id, 0, actual)
        if missing < layout.count:
            # Nobody knows yet whether the file will be read. If so, the stream is there; if not, it brings no more.
            request = ReadRequest(layout, layout.start(missing), 1, LOOK_BYTES - 1, is_look=is_look)
            await self._obtain(self._fetch(file_id, layout), request)
        return self._transfer.was_length_told(file_id) or self._shelf.has_all(file_id)

    async def measure(self, file_id: str) -> int:
        """Return the length of a file in bytes, as announced or as its whole body has. Raises the errors of read()."""
        return await self._patience.ask(file_id, partial(self._transfer.measure, file_id))

    def prefetch(self, file_id: str, size_bytes: int) -> None:
        """Begin to fetch a file that nobody waits for yet, unless it is on its way or the slots are needed."""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        if (file_id, size_bytes) in self._fetches or self._transfer.is_crowded or size_bytes == 0:
            return
        if self._patience.is_lost or self._content.is_pinned(file_id):
            return
        missing = self._shelf.next_missing(file_id, layout, 0)
        if missing < layout.count:
            fetch = self._fetch(file_id, layout)
            stream = fetch.begin(missing, layout.count, readahead_until=layout.count, priority=Priority.PREFETCH)
            self._start(fetch, [stream])

    def stop_readahead(self, file_id: str) -> None:
        """Stop reading ahead: no handle is open on the file any more."""
        for fetch in self._fetches.values():
            if fetch.file_id != file_id or fetch.requests:
                continue
            # A small file that was being read through is still fetched to its end.
            if self._division.is_small(fetch.layout):
                fetch.shorten_pauses()
            else:
                fetch.stop_readahead()

    def forget(self, file_id: str) -> None:
        """End the downloads of a file that is gone; its readers get StaleError."""
        for fetch in [fetch for fetch in self._fetches.values() if fetch.file_id == file_id]:
            fetch.abandon(StaleError(f"{file_id}: the service does not have it any more"))
        self._shelf.forget(file_id)

    def statistics(self) -> DownloadStatistics:
        """Return the figures of now."""
        streams = [stream for fetch in self._fetches.values() for stream in fetch.streams]
        return DownloadStatistics(
            streams=len(streams),
            paused=sum(stream.is_paused for stream in streams),
            readers_waiting=sum(len(fetch.requests) for fetch in self._fetches.values()),
            requests=self._transfer.requests,
            bytes_received=self._transfer.bytes_received,
            ranges=self._transfer.ranges,
            hits=self._hits,
            misses=self._misses,
            hit_bytes=self._hit_bytes,
            missed_bytes=self._missed_bytes,
        )

    # -- the reader's side

    async def _fetched(self, fetch: Fetch, request: ReadRequest, ahead: int) -> bytes:
        try:
            if self._waiting.available_tokens < 1:
                # A read that can end at once, with bytes or with an error, does not wait for a place.
                self._shelf.fill(fetch, request)
                if request.missing_chunks:
                    self._patience.check(fetch, request)
            async with self._patience.turn(self._waiting):
                await self._obtain(fetch, request, ahead)
        finally:
            self._drop_if_idle(fetch)
        return request.result()

    def _fetch(self, file_id: str, layout: Layout) -> Fetch:
        key = (file_id, layout.size)
        if key not in self._fetches:
            self._fetches[key] = Fetch(file_id, layout)
        return self._fetches[key]

    async def _obtain(self, fetch: Fetch, request: ReadRequest, ahead: int = 0) -> None:
        wait = self._patience.begin_wait(fetch, request, heard_at=self._transfer.heard_at)
        fetch.requests.add(request)
        try:
            with self._content.hold(fetch.file_id):
                while True:
                    with trio.move_on_at(wait.check_at):
                        await self._follow(fetch, request, ahead)
                        return
                    wait.check()
        except DeadlineExceeded:
            if self._transfer.is_full:
                self._free_slot()
            raise
        finally:
            fetch.requests.discard(request)
            self._drop_if_idle(fetch)

    async def _follow(self, fetch: Fetch, request: ReadRequest, ahead: int) -> None:
        """Return once a request is complete; start the streams that it needs. May be cancelled and called again."""
        while True:
            self._shelf.fill(fetch, request)
            if not request.missing_chunks:
                return
            self._patience.check(fetch, request)
            self._plan(fetch, request, ahead)
            with noting_wait(partial(fetch.tickets, request)):
                await request.changed()

    def _plan(self, fetch: Fetch, request: ReadRequest, ahead: int) -> None:
        part = self._division.first_part(fetch.layout, self._streams_each())
        self._start(fetch, fetch.plan(request, ranges=self._transfer.ranges, part=part))
        if ahead:
            fetch.look_ahead(request.asked, request.readahead_until, ahead)
            self._extend(fetch)

    # -- reading ahead

    def _move_on(self, file_id: str, layout: Layout, offset: int, size: int, ahead: int) -> None:
        """Keep the streams ahead of a reader whose bytes are here already."""
        fetch = self._fetches.get((file_id, layout.size))
        if fetch is not None:
            reach = layout.touching(offset, size + ahead)
            for stream in fetch.streams:
                if reach.start <= stream.next <= reach.stop:
                    stream.join(0, reach.stop)
            if ahead:
                fetch.look_ahead(reach.start, reach.stop, ahead)
                self._extend(fetch)

    def _extend(self, fetch: Fetch) -> None:
        """Start parallel streams for the chunks between a sequential reader and the end of its window."""
        streams, layout = self._streams_each(), fetch.layout
        if self._transfer.ranges is not True or fetch.not_on_disk or layout.size < PARALLEL_BYTES:
            return
        started = fetch.extend(
            streams,
            self._division.parts(fetch.file_id, layout, streams, fetch.window_bytes),
            lambda index: self._shelf.next_missing(fetch.file_id, layout, index),
        )
        self._start(fetch, started)
        if len(fetch.streams) < streams:
            self._division.not_all_used()

    def _streams_each(self) -> int:
        """Return how many streams a file may use: files that are read at the same time share the link."""
        return self._division.streams_each(sum(other.is_being_read for other in self._fetches.values()))

    # -- streams

    def _start(self, fetch: Fetch, streams: list[Stream]) -> None:
        for stream in streams:
            self._send.send_nowait((fetch, stream))

    async def _run_transfer(self, fetch: Fetch, stream: Stream) -> None:
        try:
            await self._transfer.run(fetch, stream, self._free_slot)
            if fetch.reach > fetch.position:
                self._extend(fetch)
        finally:
            self._drop_if_idle(fetch)

    def _free_slot(self) -> None:
        """End a stream that nobody waits for: the oldest paused one, else one that was given up."""
        streams = [stream for fetch in self._fetches.values() for stream in fetch.streams]
        paused = next((stream for stream in streams if stream.is_paused), None)
        silent = next((stream for stream in streams if not stream.is_active and not stream.is_queued), None)
        if paused is not None:
            paused.release()
        elif silent is not None:
            silent.scope.cancel()

    def _drop_if_idle(self, fetch: Fetch) -> None:
        key = (fetch.file_id, fetch.layout.size)
        if fetch.is_idle and self._fetches.get(key) is fetch:
            del self._fetches[key]
