"""How far past what was asked a reader's stream may run ahead: one window a handle. Pure.

The kernel sends several reads at once and not always in order, and only reads that miss the cache are seen here; so
a read counts as sequential when it begins anywhere near what the window already promised.
"""

from __future__ import annotations

# The first window of a reader that starts at the beginning: four kernel READs, so a look at a header stays cheap.
FIRST_WINDOW_BYTES = 512 * 1024
# How far a read may lie from where it was expected: the kernel's own readahead, both ways.
_SLACK_BYTES = 256 * 1024


class ReadWindow:
    """What one handle has read, and so is likely to read next."""

    def __init__(self) -> None:
        # A reader that starts at 0 is taken to go on.
        self._end = 0
        self._ahead = 0

    def advance(self, offset: int, size: int, max_bytes: int) -> int:
        """Note a read; how many bytes past its end are worth fetching, at most `max_bytes`.

        It doubles with each sequential read and falls to 0 with a jump.
        """
        first, last = self._end - _SLACK_BYTES, self._end + self._ahead + _SLACK_BYTES
        if first <= offset <= last:
            self._ahead = min(max(2 * self._ahead, FIRST_WINDOW_BYTES), max_bytes)
            self._end = max(self._end, offset + size)
        else:
            self._ahead = 0
            self._end = offset + size
        return self._ahead
