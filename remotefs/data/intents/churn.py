"""Files that change more often than their uploads take, and the moment to freeze a version of one (W4). Pure.

A write cuts the upload of the version that it changes, so a file that is written often enough would never reach the
service. A file keeps changing when two of its uploads were cut, or when closed versions of it were written over for a
while and none was sent. Then one version of it is frozen: writes do not change the bytes that are sent. No close waits
for it.

    calm ── two cuts, or overtaken for a while ──► keeps changing ── froze ──► frozen ── thawed ──► pause
     ▲                                                │    ▲                                          │
     └───────── the service has the newest ───────────┘    └──────────────────────────────────────────┘

One version is frozen at a time. The pause lasts as long as its upload took, so that such a file takes at most half of
the line, and never less than `pause_s`. A version that is closed during the pause is not sent at once, because a write
would only cut it; it is sent if no other close follows for `pause_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

# So many of its uploads have to be cut, because one may be chance.
_CUTS = 2
# The number of files whose last confirmed version is remembered, for drains that wait for a certain version.
_CONFIRMED_FILES = 1024


@dataclass
class _Course:
    """The changes of one file since the service last had its newest version; times are those of `now_s`."""

    first_s: float
    overtaken: int = 0
    cuts: int = 0
    frozen: int | None = None
    sending_s: float | None = None
    # The ends of the pauses that follow a frozen version, and a failed try to freeze one.
    next_s: float = -math.inf
    retry_s: float = -math.inf


class Churn:
    """Remembers the files that were written over before the service had them.

    `now_s` gives seconds of a clock that only goes forward.
    """

    def __init__(self, pause_s: float, now_s: Callable[[], float]) -> None:
        self._pause_s = pause_s
        self._now_s = now_s
        # Invariant: holds no file whose newest version the service has.
        self._courses: dict[int, _Course] = {}
        # By inode the number of its last confirmation, and the version that was confirmed.
        self._confirmed: LRUCache[int, tuple[int, int]] = LRUCache(_CONFIRMED_FILES)
        self.confirmations = 0

    # -- what happened

    def overtaken(self, ino: int, *, cut: bool) -> None:
        """Note that a closed version was written over before it was sent; `cut`: while it was sent."""
        course = self._courses.setdefault(ino, _Course(self._now_s()))
        course.overtaken += 1
        course.cuts += cut

    def froze(self, ino: int, generation: int) -> None:
        """Note that a version was frozen: it is sent before any other."""
        course = self._courses.setdefault(ino, _Course(self._now_s()))
        assert course.frozen is None, "one frozen version a file"
        course.frozen = generation

    def sending(self, ino: int) -> None:
        """Note that the upload of the frozen version begins."""
        if course := self._courses.get(ino):
            course.sending_s = self._now_s()

    def thawed(self, ino: int) -> None:
        """Note that the frozen version was sent, or will not be; the pause begins."""
        if course := self._courses.get(ino):
            took_s = 0.0 if course.sending_s is None else self._now_s() - course.sending_s
            course.next_s = self._now_s() + max(took_s, self._pause_s)
            course.frozen = course.sending_s = None

    def not_frozen(self, ino: int) -> None:
        """Note that a version could not be frozen; it is tried again after `pause_s`."""
        if course := self._courses.get(ino):
            course.retry_s = self._now_s() + self._pause_s

    def confirmed(self, ino: int, generation: int) -> None:
        """Note that the service has got this version."""
        self.confirmations += 1
        self._confirmed[ino] = (self.confirmations, generation)

    def calm(self, ino: int) -> None:
        """Forget a file whose newest version the service has, or that is not uploaded any more."""
        self._courses.pop(ino, None)

    # -- what follows from it

    def keeps_changing(self, ino: int) -> bool:
        """Return whether the file changes more often than its upload takes."""
        course = self._courses.get(ino)
        if course is None:
            return False
        lasts = course.overtaken >= _CUTS and self._now_s() - course.first_s >= self._pause_s
        return course.frozen is not None or course.cuts >= _CUTS or lasts

    def may_freeze(self, ino: int) -> bool:
        """Return whether a version of the file may be frozen now."""
        course = self._courses.get(ino)
        if course is None or course.frozen is not None or not self.keeps_changing(ino):
            return False
        return self._now_s() >= max(course.next_s, course.retry_s)

    def is_frozen(self, ino: int) -> bool:
        """Return whether a version of the file is frozen."""
        course = self._courses.get(ino)
        return course is not None and course.frozen is not None

    def was_confirmed(self, ino: int, generation: int, *, after: int) -> bool:
        """Return whether the service has got this version or a later one since there were `after` confirmations."""
        number, confirmed = self._confirmed.get(ino, (0, -1))
        return number > after and confirmed >= generation

    def delay_s(self, ino: int) -> float:
        """Return the seconds that a version which was closed just now waits before it is sent."""
        course = self._courses.get(ino)
        if course is None or course.frozen is not None or not self.keeps_changing(ino):
            return 0.0
        return min(max(course.next_s - self._now_s(), 0.0), self._pause_s)
