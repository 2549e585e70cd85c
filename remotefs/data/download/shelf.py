"""Where the chunks of a fetched file are kept on this machine: on the disk, or in memory if the disk is full (A8)."""

from __future__ import annotations

import logging

from remotefs.data.content.store import ContentStore
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.read_request import ReadRequest, WholeFileRequest
from remotefs.data.download.stream import ChunkRun
from remotefs.errors import LocalError, OutOfSpace

_log = logging.getLogger(__name__)


class Shelf:
    """Keeps the chunks that streams put in and read requests take out."""

    def __init__(self, content: ContentStore, memory: ChunkMemory) -> None:
        self._content = content
        self._memory = memory

    def put(self, fetch: Fetch, run: ChunkRun) -> bool:
        """Keep chunks; return whether they are on the disk. If not, they are in memory, and reading goes on."""
        layout = fetch.layout
        try:
            self._content.put(fetch.file_id, layout.size, layout.start(run.chunks.start), run.data)
        except LocalError as error:
            if not isinstance(error, OutOfSpace):
                _log.warning("content cannot be kept: %s", error)
            for index, piece in zip(run.chunks, layout.pieces(run.data), strict=True):
                self._memory.put(fetch.file_id, index, bytes(piece))
            return False
        return True

    def fill(self, fetch: Fetch, request: ReadRequest) -> None:
        """Give a request those of its chunks that are here. Raises CorruptionError when the only copy is damaged."""
        for index in sorted(request.missing_chunks):
            while index in request.missing_chunks and (run := self._take(fetch, request, index)) is not None:
                request.fill(run, on_disk=True)

    def forget(self, file_id: str) -> None:
        """Drop the chunks of a file that are kept in memory."""
        self._memory.drop(file_id)

    def _take(self, fetch: Fetch, request: ReadRequest, index: int) -> ChunkRun | None:
        """Return the chunks from `index` on that are here and that the request needs; None if `index` is not here."""
        layout = fetch.layout
        while (stop := self._content.next_missing(fetch.file_id, layout, index)) > index:
            if isinstance(request, WholeFileRequest):
                return ChunkRun(range(index, stop), b"")
            stop = min(stop, request.asked)
            data = self._content.read(fetch.file_id, layout.start(index), layout.start(stop) - layout.start(index))
            if data is not None:
                return ChunkRun(range(index, stop), data)
            # One of the chunks was damaged, and was dropped.
        chunk = None if isinstance(request, WholeFileRequest) else self._memory.get(fetch.file_id, index)
        return ChunkRun(range(index, index + 1), chunk) if chunk is not None else None
