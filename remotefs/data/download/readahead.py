"""How far past what was asked a reader's streams may run ahead: some windows a handle. Pure.

The kernel sends several reads at once and not always in order, and only reads that miss its cache are seen here; so a
read counts as sequential when it begins anywhere near what a window already promised.

A program that looks at the first 4 KiB of a file makes one READ of 16 KiB, whatever the kernel's readahead is, because
the kernel begins with a few times the bytes asked for. One that reads on in blocks of 128 KiB (`cat`, `cp`) begins with
a READ of at least that. So the first READ tells the two apart (R8).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# The first window of a reader that reads on: four small kernel READs.
FIRST_WINDOW_BYTES = 512 * 1024
# A first READ at the beginning that is smaller is taken for a look, which gets so much and no more.
_READER_BYTES = 128 * 1024
LOOK_BYTES = 256 * 1024
# How far a read may lie from where it was expected, both ways: the kernel's own readahead, in small READs or in large.
_SLACK_BYTES = 256 * 1024
_SLACK_READS = 2
# A player of a film reads its picture, its sound and its index in turns, by one handle.
_MAX_RUNS = 4


@dataclass
class _SequentialRun:
    """One place where a handle is being read on."""

    end: int
    ahead: int

    def continues(self, offset: int, size: int) -> bool:
        slack = max(_SLACK_BYTES, _SLACK_READS * size)
        return self.end - slack <= offset <= self.end + self.ahead + slack


class ReadWindow:
    """What one handle has read, and so is likely to read next."""

    def __init__(self) -> None:
        # A reader that starts at 0 is taken to go on. The last used comes last.
        self._runs = deque([_SequentialRun(0, 0)], maxlen=_MAX_RUNS)
        self._is_new = True
        # Whether its only read so far is a look at the beginning.
        self.is_look = False

    def advance(self, offset: int, size: int, max_bytes: int, growth: int = 2) -> int:
        """Note a read; how many bytes past its end are worth fetching, at most `max_bytes`.

        It grows `growth` times with each sequential read. A read elsewhere begins a run with nothing ahead, and halves
        what the others may have: who jumps may well not come back. A look has nothing ahead of it.
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
