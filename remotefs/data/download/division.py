"""How the bytes of a file are divided among requests: how far streams run ahead of a reader, how long each part is."""

from __future__ import annotations

from collections.abc import Callable

from remotefs.data.content.chunks import Layout
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.fetch import PartSizes

# Parts of a file of at least this size may be fetched in parallel. Its first request asks for a range, and so learns
# whether the service honours Range.
PARALLEL_BYTES = 16 << 20
# The length of a part that is fetched in parallel with others: long enough that the round trip before it costs little.
# Where requests are limited, parts are longer, because one file must not use up the requests of a minute.
_FIRST_PART_BYTES = 4 << 20
_PART_BYTES = 16 << 20
_PART_BYTES_WHERE_LIMITED = 32 << 20
# 40 MB/s bring this in 60 ms, a long round trip. The next part is requested this many bytes before the end of one.
_ENDING_BYTES = 5 << 19
# The window of a reader holds two parts for each stream: one that is coming, and one that is here already. With one
# part each, all streams would wait for the reader at the end of each round.
_PARTS_AHEAD = 2
# The share of the content cache that may be read ahead: more would evict bytes that were not read yet.
_AHEAD_FRACTION = 1 / 4


class Division:
    """Computes windows and part sizes from what `concurrency` has learned.

    `is_limited` says of an id whether the requests that bring it are limited. `content_bytes` is the size limit of the
    content cache.
    """

    def __init__(
        self,
        concurrency: StreamConcurrency,
        is_limited: Callable[[str], bool],
        *,
        readahead_bytes: int,
        content_bytes: int,
    ) -> None:
        self._concurrency = concurrency
        self._is_limited = is_limited
        self._readahead_bytes = readahead_bytes
        self._content_bytes = content_bytes

    def streams_each(self, files: int) -> int:
        """Return how many streams each of `files` files that are read at the same time may use: at least one."""
        return max(1, self._concurrency.count // max(1, files))

    def not_all_used(self) -> None:
        """Note that a reader has fewer streams than it may use, so that the present rate teaches nothing."""
        self._concurrency.not_all_used()

    @property
    def growth(self) -> int:
        """Return the factor by which a window grows with each read: 4 with parallel streams, else 2."""
        return 4 if self._concurrency.count > 1 else 2

    def most_ahead(self, file_id: str, layout: Layout) -> int:
        """Return the largest window of a reader of a file, in bytes."""
        wanted = self._readahead_bytes
        if self._concurrency.count > 1 and layout.size >= PARALLEL_BYTES:
            wanted = max(wanted, _PARTS_AHEAD * self._concurrency.count * self._part_bytes(file_id, layout))
        return min(wanted, int(self._content_bytes * _AHEAD_FRACTION))

    def is_small(self, layout: Layout) -> bool:
        """Return whether one request brings the file to its end, because the rest is cheaper than a second request."""
        return layout.size <= self._readahead_bytes

    def worthwhile(self, layout: Layout, offset: int, size: int, ahead: int) -> int:
        """Return how many bytes to fetch after a read: its window `ahead`, or up to the end of a small file."""
        return layout.size - offset - size if self.is_small(layout) else ahead

    def first_part(self, layout: Layout, concurrency: int) -> int | None:
        """Return the length (chunks) of a reader's first request if parallel ones follow; None to go to the end."""
        is_parallel = concurrency > 1 and layout.size >= PARALLEL_BYTES
        return layout.chunks_of(_FIRST_PART_BYTES) if is_parallel else None

    def parts(self, file_id: str, layout: Layout, concurrency: int, window_bytes: int) -> PartSizes:
        """Return the part sizes of parallel streams, for a reader of a file with a window of `window_bytes`."""
        longest = self._part_bytes(file_id, layout)
        least = longest if self._is_limited(file_id) else _FIRST_PART_BYTES
        usual = min(max(window_bytes // (_PARTS_AHEAD * concurrency), least), longest)
        return PartSizes(*(layout.chunks_of(size) for size in (least, usual, longest, _ENDING_BYTES)))

    def _part_bytes(self, file_id: str, layout: Layout) -> int:
        if not self._is_limited(file_id):
            return _PART_BYTES
        return min(max(layout.size // self._concurrency.count, _PART_BYTES), _PART_BYTES_WHERE_LIMITED)
