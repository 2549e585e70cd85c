"""Time that can be relied on, made of clocks that cannot.

The wall clock may be set, the service's may be wrong, and the monotonic one starts again with the machine. Two clocks
are made of them: `SteadyClock`, which goes as the monotonic one does, and `ServiceClock`, which believes what replies
say as far as it agrees with the steady one. Both are pure but for the clocks that they are given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_NS = 1_000_000_000
_HOUR_NS = 3600 * _NS
# So far apart two clocks still agree (S1): more than any clock drifts in a day, and less than any file lives.
TOLERANCE_NS = _HOUR_NS
# A file is made this far in the service's future at most: what we know of its clock is whole seconds old.
AHEAD_NS = 600 * _NS
# A service whose clock says something else for so long has had it set.
STEP_AFTER_NS = 600 * _NS
# What a reading is compared with is no older than this, so that a clock that drifts is followed.
REFERENCE_AGE_NS = 24 * _HOUR_NS


def boot_ns() -> int:
    """Return the time since the machine started, suspended time counted, in ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what tells this run of the machine from others; empty where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@dataclass(frozen=True)
class Machine:
    """The clocks of this machine: `wall` in ns since the epoch, `boot` in ns since its start."""

    wall: Callable[[], int] = time.time_ns
    boot: Callable[[], int] = boot_ns
    boot_id: str = field(default_factory=boot_id)


class Mark(msgspec.Struct, frozen=True):
    """One moment by every clock of a machine, to be kept over the end of the process."""

    steady_ns: int
    boot_ns: int
    wall_ns: int
    boot_id: str


class SteadyClock:
    """Returns, when called, ns that never go back and that no setting of a clock moves; the first is the wall clock's.

    It goes on over the end of the process from its last `mark`: by the machine's own time, and where the machine was
    started again since, by the wall clock, though never back.
    """

    def __init__(self, machine: Machine, mark: Mark | None = None) -> None:
        self._machine = machine
        self._boot_ns = machine.boot()
        self._steady_ns = machine.wall() if mark is None else mark.steady_ns + _passed_ns(mark, machine, self._boot_ns)

    def __call__(self) -> int:
        """Return the time in ns."""
        return self._steady_ns + max(self._machine.boot() - self._boot_ns, 0)

    def mark(self) -> Mark:
        """Return this moment, for the next process."""
        machine = self._machine
        return Mark(self(), machine.boot(), machine.wall(), machine.boot_id)

    def wall_ns_at(self, steady_ns: int) -> int:
        """Return a moment of this clock as the wall clock shows it now, in ns since the epoch."""
        return self._machine.wall() - self() + steady_ns


def _passed_ns(mark: Mark, machine: Machine, boot_ns: int) -> int:
    if mark.boot_id and mark.boot_id == machine.boot_id and boot_ns >= mark.boot_ns:
        return boot_ns - mark.boot_ns
    return max(machine.wall() - mark.wall_ns, 0)


class Reading(msgspec.Struct, frozen=True):
    """What the service's clock said at a moment of the steady clock, both in ns."""

    service_ns: int
    steady_ns: int

    def at(self, steady_ns: int) -> int:
        """Return what it says at another moment, if it goes on as the steady one does."""
        return self.service_ns + steady_ns - self.steady_ns

    def agrees_with(self, other: Reading) -> bool:
        """Whether both can be readings of one clock that went on as it should (S1)."""
        return abs(other.at(self.steady_ns) - self.service_ns) <= TOLERANCE_NS


class ServiceMark(msgspec.Struct, frozen=True):
    """What the next process has to know of the service's clock."""

    reference: Reading
    epoch: int


class ServiceClock:
    """The service's time in ns since the epoch.

    A reading is believed that agrees with the one before by the steady clock. Another is believed once the service has
    said so for a while; then a new `epoch` begins, and nothing that was foreseen in the last one counts (S1). Until the
    dispute is over the earlier of both is the time: it is the one by which nothing expires that may not have.
    """

    def __init__(self, machine: Machine, steady: Callable[[], int], mark: ServiceMark | None = None) -> None:
        self._wall = machine.wall
        self._steady = steady
        self.epoch = 0 if mark is None else mark.epoch
        # Invariant: `_latest` agrees with `_reference`, `_rival` does not.
        self._reference = None if mark is None else mark.reference
        self._latest = self._reference
        self._rival: Reading | None = None
        self._rival_since_ns = 0
        self._is_read = False

    @property
    def is_sure(self) -> bool:
        """Whether the service has told its time in this process, and the newest reply went with those before."""
        return self._is_read and self._rival is None

    def now_ns(self) -> int:
        """Return the time at the service; by our own clocks, the earlier of them, where it never told."""
        steady_ns = self._steady()
        if self._latest is None:
            return min(self._wall(), steady_ns)
        now_ns = self._latest.at(steady_ns)
        return now_ns if self._rival is None else min(now_ns, self._rival.at(steady_ns))

    def read(self, service_ns: int) -> None:
        """Take what a reply of the service says."""
        self._is_read = True
        reading = Reading(service_ns, self._steady())
        if self._reference is None:
            self._believe(reading)
        elif reading.agrees_with(self._reference):
            self._latest, self._rival = reading, None
            if reading.steady_ns - self._reference.steady_ns > REFERENCE_AGE_NS:
                self._reference = reading
        else:
            self._dispute(reading)

    def mark(self) -> ServiceMark | None:
        """Return what the next process has to know; None before the first reading."""
        return None if self._reference is None else ServiceMark(self._reference, self.epoch)

    def _dispute(self, reading: Reading) -> None:
        if self._rival is None or not reading.agrees_with(self._rival):
            self._rival, self._rival_since_ns = reading, reading.steady_ns
        elif reading.steady_ns - self._rival_since_ns >= STEP_AFTER_NS:
            self.epoch += 1
            self._believe(reading)

    def _believe(self, reading: Reading) -> None:
        self._reference = self._latest = reading
        self._rival = None
