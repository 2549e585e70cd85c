"""From the service to readers: a file is fetched at most once while it stays here, however many read it.

A read that misses becomes a ReadRequest and joins a Stream that is about to bring its bytes, or starts one. A stream
stores chunks as they arrive and fills the wants of them at once. At its readahead_until (what readers asked for and
their readahead) it pauses, then ends. Whether the service honours Range is learned from its answers: where it does, a
read far from every stream gets a request of its own (R1), and a file that is read in order is fetched in parts side by
side where that was found to be faster (`concurrency`); where it does not, there is one stream a file, from byte 0, and
it goes on to the end, for the bytes will be needed.
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
from remotefs.data.download.patience import Patience
from remotefs.data.download.read_request import ReadRequest, WholeFileRequest
from remotefs.data.download.readahead import LOOK_BYTES, ReadWindow
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.stream import Stream
from remotefs.data.download.transfer import Transfer
from remotefs.errors import DeadlineExceeded, LengthDiffers, StaleError
from remotefs.supervision import Supervisor


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
        self._behind = DropBehind(content.duplicate)
        self._waiting = trio.CapacityLimiter(math.inf)
        self._send, self._receive = trio.open_memory_channel[tuple[Fetch, Stream]](math.inf)
        # By id and size: an id that turns out to have another length is another file.
        self._fetches: dict[tuple[str, int], Fetch] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry streams until cancelled."""
        supervisor = self._supervisor
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.guard, "looking through the content folder", self._content.scan)
            nursery.start_soon(supervisor.keep, "letting go of pages that were read", self._behind.run)
            nursery.start_soon(supervisor.keep, "telling readers whether the service is there", self._follow_link)
            task_status.started()
            async for fetch, stream in self._receive:
                nursery.start_soon(supervisor.guard, "a download", partial(self._run_transfer, fetch, stream))

    def limit_waiting_reads(self, reads: int) -> None:
        """Let at most so many reads wait for the network at a time, where the kernel would hold up others for more."""
        self._waiting.total_tokens = reads

    async def _follow_link(self) -> None:
        """Let readers see that the service is out of reach; and once it is back, that they may ask again."""
        recovered = self._patience.times_lost
        while True:
            await self._patience.changed()
            for fetch in self._fetches.values():
                if self._patience.is_lost:
                    fetch.wake()
                elif self._patience.times_lost > recovered:
                    fetch.forsake()
            if not self._patience.is_lost:
                recovered = self._patience.times_lost

    async def read(self, file_id: str, size_bytes: int, offset: int, size: int, window: ReadWindow | None) -> bytes:
        """Exactly the bytes from `offset`, clipped at `size_bytes`: all of them or an error (R6).

        Raises StaleError when the file is gone, LengthDiffers when it is not of that size, CorruptionError when the
        only copy is damaged, DeadlineExceeded when the service sends nothing for it, RefusedError and TransportError
        as the service has it.
        """
        size = min(size, size_bytes - offset)
        if size <= 0:
            return b""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        division = self._division
        ahead = window.advance(offset, size, division.most_ahead(layout), division.growth) if window is not None else 0
        data = self._content.read(file_id, offset, size)
        if data is not None:
            self._move_on(file_id, layout, offset, size, ahead)
        elif window is not None and window.is_look:
            look = ReadRequest(layout, offset, size, max(LOOK_BYTES - size, 0), is_look=True)
            data = await self._fetched(self._fetch(file_id, layout), look, 0)
        else:
            request = ReadRequest(layout, offset, size, division.worthwhile(layout, offset, size, ahead))
            data = await self._fetched(self._fetch(file_id, layout), request, ahead)
        if ahead and size_bytes >= PARALLEL_BYTES:
            self._behind.passed(file_id, offset, size)
        return data

    async def fetch_all(self, file_id: str, size_bytes: int, *, priority: Priority = Priority.INTERACTIVE_READ) -> None:
        """Return once all of a file is on the disk. Raises as read() does, and OutOfSpace."""
        if self._content.has_all(file_id):
            return
        if size_bytes == 0:
            self._content.put(file_id, 0, 0, b"")
            return
        layout = Layout(size_bytes, self._content.chunk_bytes)
        await self._obtain(self._fetch(file_id, layout), WholeFileRequest(layout, priority))

    async def verify_length(self, file_id: str, size_bytes: int) -> bool:
        """Whether a reply tells that a file has this length, or all of it is here; False where it does not tell.

        Raises LengthDiffers, and as read() does.
        """
        layout = Layout(size_bytes, self._content.chunk_bytes)
        missing = self._content.next_missing(file_id, layout, 0)
        if size_bytes == 0 and (actual := await self.measure(file_id)) > 0:
            raise LengthDiffers(file_id, 0, actual)
        if missing < layout.count:
            # Whether it is read through is not known yet: the stream is there if so, and brings no more if not.
            await self._obtain(self._fetch(file_id, layout), ReadRequest(layout, layout.start(missing), 1, LOOK_BYTES))
        return file_id not in self._transfer.unannounced or self._content.has_all(file_id)

    async def measure(self, file_id: str) -> int:
        """The length of a file as a reply announces it, or as its body turns out to have. Raises as read() does."""
        return await self._patience.ask(file_id, partial(self._transfer.measure, file_id))

    def prefetch(self, file_id: str, size_bytes: int) -> None:
        """Begin to bring a file that nobody waits for yet, unless it is on its way or room is short."""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        if (file_id, size_bytes) in self._fetches or self._transfer.is_crowded or size_bytes == 0:
            return
        if self._patience.is_lost:
            return
        missing = self._content.next_missing(file_id, layout, 0)
        if missing < layout.count:
            fetch = self._fetch(file_id, layout)
            stream = fetch.begin(missing, layout.count, readahead_until=layout.count, priority=Priority.PREFETCH)
            self._start(fetch, [stream])

    def stop_readahead(self, file_id: str) -> None:
        """No handle is open on a file any more: what was to be read ahead of its readers is not."""
        for fetch in self._fetches.values():
            if fetch.file_id != file_id or fetch.requests:
                continue
            # A small file that was being read through is fetched to its end all the same.
            if self._division.is_small(fetch.layout):
                fetch.linger()
            else:
                fetch.stop_readahead()

    def forget(self, file_id: str) -> None:
        """Stop what goes on for a file that is gone; its readers get StaleError."""
        for fetch in [fetch for fetch in self._fetches.values() if fetch.file_id == file_id]:
            fetch.abandon(StaleError(f"{file_id}: the service does not have it any more"))
        self._shelf.forget(file_id)

    def statistics(self) -> DownloadStatistics:
        """A record of now."""
        streams = [stream for fetch in self._fetches.values() for stream in fetch.streams]
        return DownloadStatistics(
            streams=len(streams),
            paused=sum(stream.is_paused for stream in streams),
            readers_waiting=sum(len(fetch.requests) for fetch in self._fetches.values()),
            requests=self._transfer.requests,
            bytes_received=self._transfer.bytes_received,
            ranges=self._transfer.ranges,
        )

    # -- the reader's side

    async def _fetched(self, fetch: Fetch, request: ReadRequest, ahead: int) -> bytes:
        try:
            if self._waiting.available_tokens < 1:
                # Who would be told at once does not wait for its turn.
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
        vigil = self._patience.vigil(fetch, request)
        fetch.requests.add(request)
        try:
            with self._content.hold(fetch.file_id):
                while True:
                    with trio.move_on_at(vigil.look_at):
                        await self._follow(fetch, request, ahead)
                        return
                    vigil.look()
        except DeadlineExceeded:
            if self._transfer.is_full:
                self._make_way()
            raise
        finally:
            fetch.requests.discard(request)
            self._drop_if_idle(fetch)

    async def _follow(self, fetch: Fetch, request: ReadRequest, ahead: int) -> None:
        """Return once all of a request is there; see to it that streams bring it. May be cancelled and called again."""
        while True:
            self._shelf.fill(fetch, request)
            if not request.missing_chunks:
                return
            self._patience.check(fetch, request)
            self._plan(fetch, request, ahead)
            await request.changed()

    def _plan(self, fetch: Fetch, request: ReadRequest, ahead: int) -> None:
        part = self._division.first_part(fetch.layout, self._streams_each())
        self._start(fetch, fetch.plan(request, ranges=self._transfer.ranges, part=part))
        if ahead:
            fetch.look_ahead(request.asked, request.readahead_until, ahead)
            self._extend(fetch)

    # -- reading ahead

    def _move_on(self, file_id: str, layout: Layout, offset: int, size: int, ahead: int) -> None:
        """Keep the streams ahead of a reader that finds its bytes here."""
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
        """Let the concurrency bring what lies between a sequential reader and the end of its window."""
        concurrency, layout = self._streams_each(), fetch.layout
        if self._transfer.ranges is not True or fetch.not_on_disk or layout.size < PARALLEL_BYTES:
            return
        started = fetch.extend(
            concurrency,
            self._division.parts(layout, concurrency, fetch.window_bytes),
            lambda index: self._content.next_missing(fetch.file_id, layout, index),
        )
        self._start(fetch, started)
        if len(fetch.streams) < concurrency:
            self._division.not_all_used()

    def _streams_each(self) -> int:
        """Several files that are read at the same time share the link."""
        return self._division.streams_each(sum(other.is_read for other in self._fetches.values()))

    # -- streams

    def _start(self, fetch: Fetch, streams: list[Stream]) -> None:
        for stream in streams:
            self._send.send_nowait((fetch, stream))

    async def _run_transfer(self, fetch: Fetch, stream: Stream) -> None:
        await self._transfer.run(fetch, stream, self._make_way)
        if fetch.reach > fetch.position:
            self._extend(fetch)
        self._drop_if_idle(fetch)

    def _make_way(self) -> None:
        """End a stream that nobody waits for: the oldest pause, else what was given up."""
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
