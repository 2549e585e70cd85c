"""Counters that only rise, for `status --json` and for metrics: calls, errors, and how long they took. Pure."""

from __future__ import annotations

from bisect import bisect_left

# The upper ends of the buckets in seconds: from a call that memory answers to one that waits for the service.
BUCKETS_S = (0.0001, 0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0)


class Timings:
    """How many calls there were, how many of them failed, and how long they took."""

    __slots__ = ("_buckets", "count", "errors", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.errors = 0
        self.seconds = 0.0
        # The calls of each bucket, the last being those that took longer than all of them.
        self._buckets = [0] * (len(BUCKETS_S) + 1)

    def note(self, seconds: float, *, failed: bool) -> None:
        """Count a call."""
        self.count += 1
        self.errors += failed
        self.seconds += seconds
        self._buckets[bisect_left(BUCKETS_S, seconds)] += 1

    def within(self) -> tuple[int, ...]:
        """Return for each of BUCKETS_S how many calls took at most as long."""
        found, total = [], 0
        for count in self._buckets[:-1]:
            total += count
            found.append(total)
        return tuple(found)
