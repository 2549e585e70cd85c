"""Two clocks that can be relied on, made of three that cannot.

The wall clock of the machine may be set at any moment, the `Date` of a reply may be wrong, and the monotonic clock
starts at zero with every start of the machine. From these come

    wall clock ─── first value ───┐
                                  ├─► SteadyClock ── due times: "try again in 30 s"
    CLOCK_BOOTTIME ── progress ───┘        │
                                           │ checks
    `Date` of replies ──────────────► ServiceClock ── expiry of files, age of the trash

* `SteadyClock` advances as the monotonic clock does. Its last value is kept in the state folder, so that a due time in
  the journal means the same moment in the next mount.
* `ServiceClock` follows the `Date` of replies as long as it agrees with the steady clock. Files are removed here when
  they expire, so a wrong `Date` must not move it: see the class.

A wall clock that was set wrong for a moment once delayed uploads by hours and emptied the trash; docs/adr/0008-time.md
tells the decisions. Both classes are pure apart from the clocks that are passed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

_NS = 1_000_000_000
HOUR_NS = 3600 * _NS
DAY_NS = 24 * HOUR_NS
# A wall clock that shows a later time than the year 2100 is wrong, and a clock that begins with it would leave no room
# before the due time that means "never" (`records.NEVER_NS`). It begins with the year 2024 instead.
_LATEST_NS = 4_102_444_800 * _NS
_FIRST_NS = 1_704_067_200 * _NS
# Two clocks agree while they differ by no more than this (S1). It is more than any clock drifts in a day, and less than
# any file lives.
TOLERANCE_NS = HOUR_NS
# The service dates a new file at most this far after the time that we take for the service's: our idea of it comes from
# a `Date` in whole seconds, and is some seconds old. Moments that lie further in the future are not believed.
AHEAD_NS = 600 * _NS
# When the service's clock disagrees with the steady one for this long, somebody has set the service's clock.
STEP_AFTER_NS = 600 * _NS
# The reference that readings are compared with is renewed at this age. A clock that drifts is followed by it: within a
# day no drift exceeds TOLERANCE_NS.
REFERENCE_AGE_NS = DAY_NS


def boot_ns() -> int:
    """Return the time since the machine started, in ns, including the time that it was suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return the kernel's identifier of this run of the machine, or "" if the kernel has none."""
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
    """One moment by every clock of a machine, saved so that the next process can continue from it."""

    steady_ns: int
    boot_ns: int
    wall_ns: int
    boot_id: str


class SteadyClock:
    """A clock in ns that never goes back and that setting the machine's clock does not move; call it for the time.

    It begins with the value of the wall clock. A later process continues from the last `mark`: by CLOCK_BOOTTIME if the
    machine has not been restarted since, else by the time that passed on the wall clock, but never backwards.

    No value of a wall clock beyond the year 2100 is believed: a first one is not taken, and time that it says has
    passed has not. A mark beyond it is of an older version; then the clock `is_anew`, and goes back.
    """

    def __init__(self, machine: Machine, mark: Mark | None = None) -> None:
        self._machine = machine
        self._boot_ns = machine.boot()
        self.is_anew = mark is not None and mark.steady_ns > _LATEST_NS
        self._steady_ns = _first_ns(machine) if mark is None or self.is_anew else _next_ns(mark, machine, self._boot_ns)

    def __call__(self) -> int:
        """Return the time in ns, comparable with the values of earlier processes."""
        return self._steady_ns + max(self._machine.boot() - self._boot_ns, 0)

    def mark(self) -> Mark:
        """Return the present moment, to be saved for the next process."""
        machine = self._machine
        return Mark(self(), machine.boot(), machine.wall(), machine.boot_id)

    def wall_ns_at(self, steady_ns: int) -> int:
        """Return a moment of this clock as the wall clock shows it now, in ns since the epoch."""
        return self._machine.wall() - self() + steady_ns


def _first_ns(machine: Machine) -> int:
    wall_ns = machine.wall()
    return wall_ns if 0 <= wall_ns <= _LATEST_NS else _FIRST_NS


def _next_ns(mark: Mark, machine: Machine, boot_ns: int) -> int:
    steady_ns = mark.steady_ns + _passed_ns(mark, machine, boot_ns)
    return steady_ns if steady_ns <= _LATEST_NS else mark.steady_ns


def _passed_ns(mark: Mark, machine: Machine, boot_ns: int) -> int:
    # Within one run of the machine CLOCK_BOOTTIME tells the time since the mark exactly.
    if mark.boot_id and mark.boot_id == machine.boot_id and boot_ns >= mark.boot_ns:
        return boot_ns - mark.boot_ns
    # After a restart only the wall clock has gone on. If it was set back meanwhile, no time has passed for us.
    return max(machine.wall() - mark.wall_ns, 0)


class Reading(msgspec.Struct, frozen=True):
    """The time that the service's clock showed at a moment of the steady clock, both in ns."""

    service_ns: int
    steady_ns: int

    def at(self, steady_ns: int) -> int:
        """Return the service's time (ns) at another moment, if its clock advances as the steady one does."""
        return self.service_ns + steady_ns - self.steady_ns

    def agrees_with(self, other: Reading) -> bool:
        """Return whether one clock that advanced as it should can have shown both readings (S1)."""
        return abs(other.at(self.steady_ns) - self.service_ns) <= TOLERANCE_NS


class ServiceMark(msgspec.Struct, frozen=True):
    """The state of a ServiceClock that the next process continues from."""

    reference: Reading
    epoch: int


class ServiceClock:
    """The service's time in ns since the epoch.

    Each reply brings a reading. It is compared with a *reference*, an earlier reading that is believed:

        agrees with the reference ──────────────► believed; it ends a dispute
        disagrees ──► becomes the *rival* ──┬───► another reading agrees with the rival, 10 minutes later or more:
                                            │     the rival is believed, and a new `epoch` begins
                                            └───► a reading disagrees with the rival too: that one is the new rival

    While there is a rival, the earlier of both times counts: the later one could expire files that still live. With a
    new epoch nothing counts that was foreseen in the last one (S1): expiries that were listed by the old clock wait for
    a person.
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
        """Return whether a reply in this process brought the time and the newest reply agrees with the reference."""
        return self._is_read and self._rival is None

    def now_ns(self) -> int:
        """Return the service's time in ns; before the first reading the earlier time of our own two clocks."""
        steady_ns = self._steady()
        if self._latest is None:
            return min(self._wall(), steady_ns)
        now_ns = self._latest.at(steady_ns)
        return now_ns if self._rival is None else min(now_ns, self._rival.at(steady_ns))

    def read(self, service_ns: int) -> None:
        """Take the time in ns that a reply of the service brought."""
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
        """Return the state to save for the next process; None before the first reading."""
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
