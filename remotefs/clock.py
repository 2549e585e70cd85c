"""Time for what has to wait: no step of the wall clock moves it, and it goes on while the machine is suspended.

The wall clock is set by hand, by NTP and at each resume of a virtual machine, and trio's clock stands still in suspend.
What people see (times of files, of the trash, of the log) stays the wall clock's.
"""

from __future__ import annotations

import time


class SteadyClock:
    """Call it for the time in ns since the epoch: the wall clock's of when this was made, and what has passed since.

    It is a clock of one process. A time that was written down by an earlier one is only good to be compared with a
    bound: the wall clock may have been wrong then, or be wrong now.
    """

    def __init__(self) -> None:
        self._lead_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def __call__(self) -> int:
        """Return the time."""
        return self._lead_ns + time.clock_gettime_ns(time.CLOCK_BOOTTIME)
