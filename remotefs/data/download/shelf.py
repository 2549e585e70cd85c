"""Where the chunks of a fetched file lie on this machine: on the disk, in memory where the disk is full (A8)."""

from __future__ import annotations

import logging

from remotefs.data.content.store import ContentStore
from remotefs.data.download.fetch import Fetch
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.read_request import Want, WholeWant
from remotefs.data.download.stream import Run
from remotefs.errors import LocalError, OutOfSpace

_log = logging.getLogger(__name__)


class Shelf:
    """Chunks are put in by streams and taken out by wants."""

    def __init__(self, content: ContentStore, memory: ChunkMemory) -> None:
        self._content = content
        self._memory = memory

    def put(self, fetch: Fetch, run: Run) -> bool:
        """Keep chunks; whether they are on the disk. Else they are in memory, and reading goes on."""
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

    def fill(self, fetch: Fetch, want: Want) -> None:
        """Give a want what is here of its chunks. Raises CorruptionError."""
        for index in sorted(want.missing):
            while index in want.missing and (run := self._take(fetch, want, index)) is not None:
                want.fill(run, on_disk=True)

    def _take(self, fetch: Fetch, want: Want, index: int) -> Run | None:
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
