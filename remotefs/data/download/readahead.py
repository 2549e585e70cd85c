"""How far the streams of a reader may run ahead of it: a few windows for each handle. Pure.

The kernel sends several reads at once and not always in order, and only reads that miss its cache are seen here; so a
read counts as sequential when it begins anywhere near the end of a window.

A program that looks at the first 4 KiB of a file makes one READ of 16 KiB, whatever the kernel's readahead is, because
the kernel begins with a few times the bytes asked for. One that reads on in blocks of 128 KiB (`cat`, `cp`) begins with
a READ of at least that. The first READ tells the two apart (R8).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# The first window of a reader that reads on: four small kernel READs.
FIRST_WINDOW_BYTES = 512 * 1024
# A smaller first READ at the beginning counts as a look at the file, and LOOK_BYTES are fetched for it, no more.
_READER_BYTES = 128 * 1024
LOOK_BYTES = 256 * 1024
# How far a read may lie from where it was expected, both ways: the kernel's own readahead, in small READs or in large.
_SLACK_BYTES = 256 * 1024
_SLACK_READS = 2
# A video player reads picture, sound and index in turns through one handle.
_MAX_RUNS = 4


@dataclass
class _SequentialRun:
    """One position from which a handle is being read sequentially."""

    end: int
    ahead: int

    def continues(self, offset: int, size: int) -> bool:
        slack = max(_SLACK_BYTES, _SLACK_READS * size)
        return self.end - slack <= offset <= self.end + self.ahead + slack


class ReadWindow:
    """The sequential runs of one handle: where it reads, and how far ahead of each run to fetch."""

    def __init__(self) -> None:
        # A reader that starts at 0 is expected to go on. The run used last comes last.
        self._runs = deque([_SequentialRun(0, 0)], maxlen=_MAX_RUNS)
        self._is_new = True
        # Whether its only read so far is a look at the beginning.
        self.is_look = False

    def advance(self, offset: int, size: int, max_bytes: int, growth: int = 2) -> int:
        """Note a read; return how many bytes to fetch past its end, at most `max_bytes`.

        The window grows by the factor `growth` with each sequential read. A read elsewhere begins a run without a
        window, and halves the windows of the others: a reader that jumps may not come back. A look has no window.
        """
        self.is_look = self._is_new and offset == 0 and size < _READER_BYTES
        self._is_new = False
        if self.is_look:
            self._runs[-1].end = size
            return 0
        run = next((run for run in reversed(self._runs) if run.continues(offset, size)), None)
        if run is None:
            for other in self._runs:
                other.ahead //= 2
            self._runs.append(_SequentialRun(offset + size, 0))
            return 0
        run.ahead = min(max(growth * run.ahead, FIRST_WINDOW_BYTES), max_bytes)
        run.end = max(run.end, offset + size)
        if run is not self._runs[-1]:
            self._runs.remove(run)
            self._runs.append(run)
        return run.ahead
