"""Stamps of records, and the clock that gives them: a hybrid logical clock on the service's time. Pure.

A stamp is (hlc, writer). `hlc` is in nanoseconds of the service's clock, so machines whose own clocks differ agree, and
a person can read it as a time. No bits of it are set apart for a counter: `max(last + 1, now)` counts in the lowest
bits while the time stands still or runs back, and a machine that made 65,000 stamps at one moment is 65 µs ahead.

A clock moves beyond each stamp that it hears of, so whoever saw a change and then makes one has the later stamp. A
stamp far ahead of the service comes from a clock that is wrong; this clock does not follow it. The map takes such a
stamp as it is written nevertheless: a value that depends on when a machine heard of it would differ between machines,
and so would their trees. A change of such a key says above what it has to be (`next(above=...)`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# A stamp further ahead of the service's time comes from a clock that is wrong.
MOST_AHEAD_NS = 60_000_000_000


class Stamp(NamedTuple):
    """The order of changes: by time in nanoseconds of the service's clock, then by the machine's writer id (hex)."""

    hlc: int
    writer: str


class HybridClock:
    """Gives the times of this machine's records.

    `service_now_ns` returns the service's time in unix nanoseconds; `last` is what an earlier run saved.
    """

    def __init__(self, service_now_ns: Callable[[], int], last: int = 0) -> None:
        self._service_now_ns = service_now_ns
        # Invariant: never falls; not below any time given, nor any heard time that was not too far ahead.
        self._last = last

    @property
    def last(self) -> int:
        """Return the latest time given or heard, to be saved in the transaction that uses it."""
        return self._last

    def next(self, *, above: int = 0) -> int:
        """Return a time later than all given or heard before, and not before the service's.

        It is also later than `above`, the time of the record that the new one replaces. That matters for a record from
        far ahead, which this clock did not follow; nor does it now, so that other keys keep the true time.
        """
        self._last = max(self._last + 1, self._service_now_ns())
        return max(self._last, above + 1)

    def heard(self, hlc: int) -> int:
        """Move beyond the time of another machine's record; return the time taken.

        That is the service's present time for one more than MOST_AHEAD_NS ahead of it: then the result differs from
        `hlc`, and the caller reports the machine. The result is for this clock alone, never for the map.
        """
        now = self._service_now_ns()
        taken = hlc if hlc <= now + MOST_AHEAD_NS else now
        self._last = max(self._last, taken)
        return taken
