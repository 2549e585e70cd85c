"""Where the chunks of a fetched file are kept on this machine: on the disk, or in memory if the disk is full (A8).

The content folder may fail at any moment: no descriptor is left, or the disk has errors. Cached content that cannot be
kept or read then counts as not here, and its bytes come from the service. Pinned content may be the only copy, so its
errors reach the reader.
"""

from __future__ import annotations

import logging

from remotefs.data.content.chunks import Layout
from remotefs.data.content.store import ContentStore
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.read_request import ReadRequest, WholeFileRequest
from remotefs.data.download.stream import ChunkRun
from remotefs.errors import CorruptionError, LocalError, OutOfSpace

_log = logging.getLogger(__name__)
_DISK_ERRORS = (LocalError, OSError)


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
        except (*_DISK_ERRORS, CorruptionError) as error:
            if not isinstance(error, OutOfSpace):
                _log.warning("content cannot be kept: %s", error)
            for index, piece in zip(run.chunks, layout.pieces(run.data), strict=True):
                self._memory.put(fetch.file_id, index, bytes(piece))
            return False
        return True

    def read(self, file_id: str, offset: int, size: int) -> bytes | None:
        """Return bytes from the disk, clipped to the end of the file; None where cached content cannot be read.

        Raises CorruptionError, LocalError and OSError for pinned content.
        """
        try:
            return self._content.read(file_id, offset, size)
        except _DISK_ERRORS as error:
            self._check_cached(file_id, error)
            return None

    def has_all(self, file_id: str) -> bool:
        """Return whether every byte is on the disk, as far as is known. Raises as `read` does."""
        try:
            return self._content.has_all(file_id)
        except _DISK_ERRORS as error:
            self._check_cached(file_id, error)
            return False

    def next_missing(self, file_id: str, layout: Layout, index: int) -> int:
        """Return the first chunk from `index` on that is not on the disk. Raises as `read` does."""
        try:
            return self._content.next_missing(file_id, layout, index)
        except _DISK_ERRORS as error:
            self._check_cached(file_id, error)
            return index

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
        layout, tried = fetch.layout, 0
        while (stop := self.next_missing(fetch.file_id, layout, index)) > index:
            if isinstance(request, WholeFileRequest):
                return ChunkRun(range(index, stop), b"")
            stop = min(stop, request.asked)
            if stop == tried:
                break  # nothing was dropped: it cannot be read now
            data = self.read(fetch.file_id, layout.start(index), layout.start(stop) - layout.start(index))
            if data is not None:
                return ChunkRun(range(index, stop), data)
            # Most likely one of the chunks was damaged, and was dropped.
            tried = stop
        chunk = None if isinstance(request, WholeFileRequest) else self._memory.get(fetch.file_id, index)
        return ChunkRun(range(index, index + 1), chunk) if chunk is not None else None

    def _check_cached(self, file_id: str, error: LocalError | OSError) -> None:
        """Raise the error of pinned content; log that of cached content, which can be fetched again."""
        if self._content.is_pinned(file_id):
            raise error
        _log.debug("%s: its cached content cannot be read, so it is fetched: %s", file_id, error)
