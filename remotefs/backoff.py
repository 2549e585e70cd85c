"""Exponential back-off: the wait before the next attempt doubles with each failure, up to a bound. Pure."""

from __future__ import annotations

# The number of failures grows without end while a task fails for days, and `2.0 ** 1024` raises OverflowError. Two to
# this power exceeds every bound in use, so more doublings would change nothing.
_MOST_DOUBLINGS = 64


def backoff_s(first_s: float, longest_s: float, failures: int) -> float:
    """Return the seconds to wait: `first_s`, doubled for each of `failures` earlier failures, at most `longest_s`."""
    return min(first_s * 2.0 ** min(failures, _MOST_DOUBLINGS), longest_s)
