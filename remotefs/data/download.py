"""From the service to readers: a file is fetched at most once while it stays here, however many read it.

A read that misses becomes a Want and joins a Stream that is about to bring its bytes, or starts one. A stream stores
chunks as they arrive and fills the wants of them at once. At its goal (what readers asked for and their readahead) it
pauses, then ends. Whether the service honours Range is learned from its answers: where it does, a read far from every
stream gets a request of its own (R1), and a file that is read in order is fetched in parts side by side where that was
found to be faster (`lanes`); where it does not, there is one stream a file, from byte 0, and it goes on to the end, for
the bytes will be needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.config import CacheConfig
from remotefs.data.carrier import PARALLEL_BYTES, Carrier
from remotefs.data.chunks import Layout
from remotefs.data.content import ContentStore
from remotefs.data.dropbehind import DropBehind
from remotefs.data.fetch import Fetch, Parts
from remotefs.data.lanes import Lanes
from remotefs.data.memory import ChunkMemory
from remotefs.data.readahead import FIRST_WINDOW_BYTES, ReadWindow
from remotefs.data.stream import Run, Stream
from remotefs.data.tier import Tier
from remotefs.data.want import Want, WholeWant
from remotefs.errors import LengthDiffers, StaleError
from remotefs.supervision import Supervisor

# A part that is fetched beside others: long enough that a round trip before it costs little, and where requests are
# limited, longer, for a file must not eat a minute's worth of them.
_FIRST_PART_BYTES = 4 << 20
_PART_BYTES = 16 << 20
_PART_BYTES_WHERE_LIMITED = 32 << 20
# What 40 MB/s bring in 60 ms, a long round trip: the next part is asked for so long before the end of one.
_ENDING_BYTES = 5 << 19
# The window of a reader holds so many parts for each lane: one that is coming, and one that is there already, or the
# lanes would all wait for the reader at the end of each round.
_PARTS_AHEAD = 2
# Of the content that may be kept, this part may be read ahead: more would push out what was not read yet.
_AHEAD_FRACTION = 1 / 4


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
        tier: Tier,
        content: ContentStore,
        memory: ChunkMemory,
        config: CacheConfig,
        supervisor: Supervisor,
        lanes: Lanes | None = None,
        requests_per_minute: Callable[[], float | None] = lambda: None,
        distrust: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._content = content
        self._memory = memory
        self._readahead_bytes = config.readahead_bytes
        self._supervisor = supervisor
        self._lanes = lanes or Lanes()
        self._requests_per_minute = requests_per_minute
        self._carrier = Carrier(tier, content, memory, self._lanes, distrust)
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
            task_status.started()
            async for fetch, stream in self._receive:
                nursery.start_soon(supervisor.guard, "a download", partial(self._carry, fetch, stream))

    def limit_waiting_reads(self, reads: int) -> None:
        """Let at most so many reads wait for the network at a time, where the kernel would hold up others for more."""
        self._waiting.total_tokens = reads

    async def read(self, file_id: str, size_bytes: int, offset: int, size: int, window: ReadWindow | None) -> bytes:
        """Exactly the bytes from `offset`, clipped at `size_bytes`: all of them or an error (R6).

        Raises StaleError when the file is gone, LengthDiffers when it is not of that size, CorruptionError when the
        only copy is damaged, RefusedError and TransportError as the service has it.
        """
        size = min(size, size_bytes - offset)
        if size <= 0:
            return b""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        ahead = window.advance(offset, size, self._most_ahead(layout), self._growth) if window is not None else 0
        data = self._content.read(file_id, offset, size)
        if data is not None:
            self._move_on(file_id, layout, offset, size, ahead)
        else:
            data = await self._fetched(file_id, layout, offset, size, ahead)
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
        await self._obtain(self._fetch(file_id, layout), WholeWant(layout, priority))

    async def verify_length(self, file_id: str, size_bytes: int) -> bool:
        """Whether a reply tells that a file has this length, or all of it is here; False where it does not tell.

        Raises LengthDiffers, and as read() does.
        """
        layout = Layout(size_bytes, self._content.chunk_bytes)
        missing = self._content.next_missing(file_id, layout, 0)
        if size_bytes == 0 and (actual := await self.measure(file_id)) > 0:
            raise LengthDiffers(file_id, 0, actual)
        if missing < layout.count:
            offset = layout.start(missing)
            want = Want(layout, offset, 1, self._worthwhile(layout, offset, 1, FIRST_WINDOW_BYTES))
            await self._obtain(self._fetch(file_id, layout), want)
        return file_id not in self._carrier.unannounced or self._content.has_all(file_id)

    async def measure(self, file_id: str) -> int:
        """The length of a file as a reply announces it, or as its body turns out to have."""
        return await self._carrier.measure(file_id)

    def prefetch(self, file_id: str, size_bytes: int) -> None:
        """Begin to bring a file that nobody waits for yet, unless it is on its way or room is short."""
        layout = Layout(size_bytes, self._content.chunk_bytes)
        if (file_id, size_bytes) in self._fetches or self._carrier.is_crowded or size_bytes == 0:
            return
        missing = self._content.next_missing(file_id, layout, 0)
        if missing < layout.count:
            fetch = self._fetch(file_id, layout)
            fetch.streams.append(Stream(missing, layout.count, missing, layout.count, Ticket(Priority.PREFETCH)))
            self._start(fetch, fetch.streams)

    def slacken(self, file_id: str) -> None:
        """No handle is open on a file any more: what was to be read ahead of its readers is not."""
        for fetch in self._fetches.values():
            # A small file is fetched to its end all the same; a whole one that somebody waits for, too.
            if fetch.file_id == file_id and fetch.layout.size > self._readahead_bytes and not fetch.wants:
                fetch.slacken()

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
            requests=self._carrier.requests,
            bytes_received=self._carrier.bytes_received,
            ranges=self._carrier.ranges,
        )

    # -- the reader's side

    async def _fetched(self, file_id: str, layout: Layout, offset: int, size: int, ahead: int) -> bytes:
        fetch = self._fetch(file_id, layout)
        want = Want(layout, offset, size, self._worthwhile(layout, offset, size, ahead))
        async with self._waiting:
            await self._obtain(fetch, want, ahead)
        return want.result()

    def _fetch(self, file_id: str, layout: Layout) -> Fetch:
        key = (file_id, layout.size)
        if key not in self._fetches:
            self._fetches[key] = Fetch(file_id, layout)
        return self._fetches[key]

    def _worthwhile(self, layout: Layout, offset: int, size: int, ahead: int) -> int:
        """A file no larger than the window is fetched to its end: the rest of it is cheaper than a second request."""
        return layout.size - offset - size if layout.size <= self._readahead_bytes else ahead

    async def _obtain(self, fetch: Fetch, want: Want, ahead: int = 0) -> None:
        fetch.wants.add(want)
        try:
            with self._content.hold(fetch.file_id):
                while True:
                    self._fill_from_here(fetch, want)
                    if not want.missing:
                        return
                    self._start(fetch, fetch.plan(want, ranges=self._carrier.ranges, part=self._first_part(fetch)))
                    if ahead:
                        fetch.look_ahead(want.asked, want.goal, ahead)
                        self._extend(fetch)
                    await want.changed()
        finally:
            fetch.wants.discard(want)
            self._drop_if_idle(fetch)

    def _fill_from_here(self, fetch: Fetch, want: Want) -> None:
        for index in sorted(want.missing):
            while index in want.missing and (run := self._here(fetch, want, index)) is not None:
                want.fill(run, on_disk=True)

    def _here(self, fetch: Fetch, want: Want, index: int) -> Run | None:
        """The chunks from `index` on that are here, as far as they are wanted."""
        layout = fetch.layout
        while (stop := self._content.next_missing(fetch.file_id, layout, index)) > index:
            if isinstance(want, WholeWant):
                return Run(range(index, stop), b"")
            stop = min(stop, want.asked)
            data = self._content.read(fetch.file_id, layout.start(index), layout.start(stop) - layout.start(index))
            if data is not None:
                return Run(range(index, stop), data)
            # A chunk of it was damaged, and is not here any more.
        chunk = None if isinstance(want, WholeWant) else self._memory.get(fetch.file_id, index)
        return Run(range(index, index + 1), chunk) if chunk is not None else None

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
        """Let the lanes bring what lies between a sequential reader and the end of its window."""
        lanes, layout = self._lanes_each(), fetch.layout
        if self._carrier.ranges is not True or fetch.spilled or layout.size < PARALLEL_BYTES:
            return
        started = fetch.extend(
            lanes,
            self._parts(layout, fetch.window_bytes // (_PARTS_AHEAD * lanes)),
            lambda index: self._content.next_missing(fetch.file_id, layout, index),
        )
        self._start(fetch, started)
        if len(fetch.streams) < lanes:
            self._lanes.not_all_used()

    def _lanes_each(self) -> int:
        """Several files that are read at the same time share the link."""
        others = sum(any(not stream.is_paused for stream in other.streams) for other in self._fetches.values())
        return max(1, self._lanes.count // max(1, others))

    @property
    def _growth(self) -> int:
        """How fast a window grows: sooner large where there are lanes to be kept busy."""
        return 4 if self._lanes.count > 1 else 2

    def _most_ahead(self, layout: Layout) -> int:
        wanted = self._readahead_bytes
        if self._lanes.count > 1 and layout.size >= PARALLEL_BYTES:
            wanted = max(wanted, _PARTS_AHEAD * self._lanes.count * self._part_bytes(layout))
        return min(wanted, int(self._content.limit_bytes * _AHEAD_FRACTION))

    def _first_part(self, fetch: Fetch) -> int | None:
        """The chunks of a reader's first request where more will follow beside it; None where it goes to the end."""
        is_parallel = self._lanes_each() > 1 and fetch.layout.size >= PARALLEL_BYTES
        return fetch.layout.chunks_of(_FIRST_PART_BYTES) if is_parallel else None

    def _parts(self, layout: Layout, wanted_bytes: int) -> Parts:
        longest = self._part_bytes(layout)
        least = _FIRST_PART_BYTES if self._requests_per_minute() is None else longest
        usual = min(max(wanted_bytes, least), longest)
        return Parts(*(layout.chunks_of(size) for size in (least, usual, longest, _ENDING_BYTES)))

    def _part_bytes(self, layout: Layout) -> int:
        if self._requests_per_minute() is None:
            return _PART_BYTES
        return min(max(layout.size // self._lanes.count, _PART_BYTES), _PART_BYTES_WHERE_LIMITED)

    # -- streams

    def _start(self, fetch: Fetch, streams: list[Stream]) -> None:
        for stream in streams:
            self._send.send_nowait((fetch, stream))

    async def _carry(self, fetch: Fetch, stream: Stream) -> None:
        await self._carrier.carry(fetch, stream, self._end_oldest_pause)
        if fetch.reach > fetch.position:
            self._extend(fetch)
        self._drop_if_idle(fetch)

    def _end_oldest_pause(self) -> None:
        for fetch in self._fetches.values():
            for stream in fetch.streams:
                if stream.is_paused:
                    stream.release()
                    return

    def _drop_if_idle(self, fetch: Fetch) -> None:
        if fetch.is_idle:
            self._fetches.pop((fetch.file_id, fetch.layout.size), None)
