"""A scripted service and a Downloader with all around it: for tests of reading, on a clock that is driven."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from remotefs.api.budget import Ticket
from remotefs.config import CacheConfig
from remotefs.data.content.store import ContentStore
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.division import Division
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.patience import Patience
from remotefs.data.download.readahead import ReadWindow
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.source import ContentSource
from remotefs.data.download.transfer import Transfer
from remotefs.errors import ReplyBroken
from remotefs.store.disk import Disk
from remotefs.store.durability import Durability
from remotefs.supervision import Supervisor

CHUNK = 4096
MIB = 1 << 20
# What a kernel asks for first for a program that reads a file through: less would be a look at its beginning.
READ = 32 * CHUNK
READAHEAD = 64 * CHUNK


def body(size: int) -> bytes:
    return b"".join((i * 2654435761 + 12345).to_bytes(8, "little") for i in range(size // 8 + 1))[:size]


@dataclass
class Body:
    """A reply as the service might send it."""

    offset: int
    total_bytes: int | None
    pieces: AsyncIterator[bytes]
    ranges: bool | None

    def expect(self, size: int) -> None:
        """Pieces are as long as the service makes them."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self.pieces


@dataclass
class Request:
    offset: int
    length: int | None
    ticket: Ticket
    sent: int = 0
    closed: bool = False


@dataclass
class Service:
    """A scripted service: `files` by id, and how it misbehaves."""

    files: dict[str, bytes]
    ranges: bool = True
    piece: int = 1500
    # Of each reply, and of all together.
    bytes_per_s: float = 0
    link_bytes_per_s: float = 0
    latency_s: float = 0
    # The body of the n-th request ends with this error after so many bytes.
    cuts: dict[int, int] = field(default_factory=dict)
    cut_error: Exception = field(default_factory=lambda: ReplyBroken("the body was cut"))
    announce: bool = True
    refusal: Exception | None = None
    # Seconds until the head of a reply goes out; inf for never. Of the n-th request, else `latency_s`.
    latencies: dict[int, float] = field(default_factory=dict)
    # The body of the n-th request stops after so many bytes until `go` is set.
    stalls: dict[int, int] = field(default_factory=dict)
    go: trio.Event = field(default_factory=trio.Event)
    # The body of the n-th request comes byte by byte, so many seconds apart.
    drips: dict[int, float] = field(default_factory=dict)
    # Seconds for which a request waits for its turn before it goes out.
    held_s: float = 0
    # Called for each head and each piece, as the API client does.
    on_heard: Callable[[], None] = lambda: None
    requests: list[Request] = field(default_factory=list)
    _link_free_at: float = 0

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AsyncIterator[Body]:
        if self.held_s:
            with priority.waiting():
                await trio.sleep(self.held_s)
        request = Request(offset, length, priority)
        number = len(self.requests)
        self.requests.append(request)
        await trio.sleep(self.latencies.get(number, self.latency_s))
        if self.refusal is not None:
            raise self.refusal
        self.on_heard()
        data = self.files[file_id]
        start = offset if self.ranges else 0
        end = len(data) if length is None or not self.ranges else min(offset + length, len(data))
        pieces = self._pieces(request, data[start:end], self.cuts.get(number), self.stalls.get(number))
        if number in self.drips:
            pieces = self._drops(request, data[start:end], self.drips[number])
        try:
            asked = offset > 0 or length is not None
            yield Body(start, len(data) if self.announce else None, pieces, self.ranges if asked else None)
        finally:
            request.closed = True
            await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator

    async def _pieces(self, request: Request, data: bytes, cut: int | None, stall: int | None) -> AsyncIterator[bytes]:
        while request.sent < len(data):
            if stall is not None and request.sent >= stall:
                await self.go.wait()
            if cut is not None and request.sent >= cut:
                raise self.cut_error
            piece = data[request.sent : request.sent + self.piece]
            if cut is not None:
                piece = piece[: cut - request.sent]
            await trio.sleep(len(piece) / self.bytes_per_s if self.bytes_per_s else 0)
            if self.link_bytes_per_s:
                begins = max(self._link_free_at, trio.current_time())
                self._link_free_at = begins + len(piece) / self.link_bytes_per_s
                await trio.sleep_until(self._link_free_at)
            request.sent += len(piece)
            self.on_heard()
            yield piece

    async def _drops(self, request: Request, data: bytes, every_s: float) -> AsyncIterator[bytes]:
        for at in range(len(data)):
            await trio.sleep(every_s)
            request.sent += 1
            self.on_heard()
            yield data[at : at + 1]

    @property
    def bytes_sent(self) -> int:
        return sum(request.sent for request in self.requests)


@dataclass
class Space:
    f_bavail: int = 10_000_000
    f_blocks: int = 10_000_000
    f_frsize: int = 1024


@dataclass
class Bench:
    """A Downloader with all around it."""

    service: Service
    content: ContentStore
    memory: ChunkMemory
    space: Space
    downloader: Downloader

    async def read(self, offset: int, size: int, window: ReadWindow | None = None, file_id: str = "f1") -> bytes:
        return await self.downloader.read(file_id, len(self.service.files[file_id]), offset, size, window)

    def damage(self, *, at: int = 0) -> None:
        """Change bytes of `f1` on the disk."""
        path = self.content.path_of("f1")
        assert path is not None
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"damage")


def downloader_of(
    source: ContentSource,
    content: ContentStore,
    memory: ChunkMemory,
    config: CacheConfig,
    *,
    concurrency: StreamConcurrency | None = None,
    is_limited: Callable[[str], bool] = lambda _: False,
    patience: Patience | None = None,
) -> Downloader:
    """A Downloader, not running yet."""
    shelf, concurrency = Shelf(content, memory), concurrency or StreamConcurrency()
    division = Division(
        concurrency,
        is_limited,
        readahead_bytes=config.readahead_bytes,
        content_bytes=content.limit_bytes,
    )
    transfer = Transfer(source, content, shelf, concurrency, lambda _: None)
    return Downloader(transfer, content, shelf, division, patience or Patience(), Supervisor())


@asynccontextmanager
async def running(
    folder: Path,
    service: Service,
    *,
    readahead: int = READAHEAD,
    chunk: int = CHUNK,
    source: ContentSource | None = None,
    **downloading: Any,
) -> AsyncIterator[Bench]:
    config = CacheConfig(chunk_bytes=chunk, readahead_bytes=readahead, reserve_bytes=MIB, reserve_fraction=0.0)
    space = Space()
    disk = Disk(folder, config, statvfs=lambda _: space)
    content = ContentStore(folder / "content", config, disk, Durability(folder / "log"))
    memory = ChunkMemory(config.memory_bytes)
    bench = Bench(
        service,
        content,
        memory,
        space,
        downloader_of(source or service, content, memory, config, **downloading),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.downloader.run)
        yield bench
        nursery.cancel_scope.cancel()
    content.close()


async def read_through(bench: Bench, size: int, step: int = READ) -> bytes:
    window = ReadWindow()
    return b"".join([await bench.read(offset, step, window) for offset in range(0, size, step)])


BIG = body(400 * CHUNK + 100)
