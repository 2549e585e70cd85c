"""How the bytes of a file are divided among requests: how far one runs ahead of its reader, how long a part is."""

from __future__ import annotations

from collections.abc import Callable

from remotefs.data.content.chunks import Layout
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.fetch import PartSizes

# A file of which parts may be fetched side by side; of it, the first request asks for a range, and so learns whether
# there are any.
PARALLEL_BYTES = 16 << 20
# A part that is fetched beside others: long enough that a round trip before it costs little, and where requests are
# limited, longer, for a file must not eat a minute's worth of them.
_FIRST_PART_BYTES = 4 << 20
_PART_BYTES = 16 << 20
_PART_BYTES_WHERE_LIMITED = 32 << 20
# What 40 MB/s bring in 60 ms, a long round trip: the next part is asked for so long before the end of one.
_ENDING_BYTES = 5 << 19
# The window of a reader holds so many parts for each stream: one that is coming, and one that is there already, or the
# concurrency would all wait for the reader at the end of each round.
_PARTS_AHEAD = 2
# Of the content that may be kept, this part may be read ahead: more would push out what was not read yet.
_AHEAD_FRACTION = 1 / 4


class Division:
    """Answers by what `concurrency` has learned; `requests_per_minute` is None where there is no limit."""

    def __init__(
        self,
        concurrency: StreamConcurrency,
        requests_per_minute: Callable[[], float | None],
        *,
        readahead_bytes: int,
        content_bytes: int,
    ) -> None:
        self._concurrency = concurrency
        self._requests_per_minute = requests_per_minute
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
        """How fast a window grows: sooner large where there are concurrency to be kept busy."""
        return 4 if self._concurrency.count > 1 else 2

    def most_ahead(self, layout: Layout) -> int:
        """The bytes that a reader's window may reach."""
        wanted = self._readahead_bytes
        if self._concurrency.count > 1 and layout.size >= PARALLEL_BYTES:
            wanted = max(wanted, _PARTS_AHEAD * self._concurrency.count * self._part_bytes(layout))
        return min(wanted, int(self._content_bytes * _AHEAD_FRACTION))

    def is_small(self, layout: Layout) -> bool:
        """Whether a reader gets the file to its end: the rest of it is cheaper than a second request."""
        return layout.size <= self._readahead_bytes

    def worthwhile(self, layout: Layout, offset: int, size: int, ahead: int) -> int:
        """The bytes after a read that are worth having, of which `ahead` are its window."""
        return layout.size - offset - size if self.is_small(layout) else ahead

    def first_part(self, layout: Layout, concurrency: int) -> int | None:
        """The chunks of a reader's first request where more will follow beside it; None where it goes to the end."""
        is_parallel = concurrency > 1 and layout.size >= PARALLEL_BYTES
        return layout.chunks_of(_FIRST_PART_BYTES) if is_parallel else None

    def parts(self, layout: Layout, concurrency: int, window_bytes: int) -> PartSizes:
        """How long parts are beside one another, for a reader with such a window."""
        longest = self._part_bytes(layout)
        least = _FIRST_PART_BYTES if self._requests_per_minute() is None else longest
        usual = min(max(window_bytes // (_PARTS_AHEAD * concurrency), least), longest)
        return PartSizes(*(layout.chunks_of(size) for size in (least, usual, longest, _ENDING_BYTES)))

    def _part_bytes(self, layout: Layout) -> int:
        if self._requests_per_minute() is None:
            return _PART_BYTES
        return min(max(layout.size // self._concurrency.count, _PART_BYTES), _PART_BYTES_WHERE_LIMITED)
