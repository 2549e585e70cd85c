"""Which files change more often than their uploads take, and when a version of one is to be frozen (W4). Pure.

A write cuts the upload of the version that it changes, so a file that is written often enough would never get to the
service. One of whose uploads two were cut, or of which closed versions were written over for a while and none was sent,
keeps changing: a version of it is frozen, so that writes do not change what is sent, and no close waits for it.

    calm ── two cuts, or overtaken for a while ──► keeps changing ── froze ──► frozen ── thawed ──► pause
     ▲                                                │    ▲                                          │
     └───────── the service has the newest ───────────┘    └──────────────────────────────────────────┘

One version is frozen at a time. The pause is as long as its upload took, so that such a file takes half of the line at
most, and not shorter than `pause_s`. In it a close is not sent at once, for it would only be cut; but one that nothing
follows for `pause_s` is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache

# Of its uploads as many were cut: one may be chance.
_CUTS = 2
# Files whose last confirmed version is remembered, for those who wait for one of a certain moment.
_CONFIRMED_FILES = 1024


@dataclass
class _Course:
    """How one file has changed since the service last had its newest version; times are those of the clock."""

    first_s: float
    overtaken: int = 0
    cuts: int = 0
    frozen: int | None = None
    sending_s: float | None = None
    # When the pause is over that follows a frozen version, or a try to freeze one that failed.
    next_s: float = -math.inf
    retry_s: float = -math.inf


class Churn:
    """Owns what is remembered of files that were written over before the service had them.

    `now_s` gives seconds of a clock that only goes forward.
    """

    def __init__(self, pause_s: float, now_s: Callable[[], float]) -> None:
        self._pause_s = pause_s
        self._now_s = now_s
        # Invariant: holds no file whose newest version the service has.
        self._courses: dict[int, _Course] = {}
        # By inode the number of its last confirmation, and which version that was of.
        self._confirmed: LRUCache[int, tuple[int, int]] = LRUCache(_CONFIRMED_FILES)
        self.confirmations = 0

    # -- what happened

    def overtaken(self, ino: int, *, cut: bool) -> None:
        """A closed version was written over before it was sent; `cut`: while it was sent."""
        course = self._courses.setdefault(ino, _Course(self._now_s()))
        course.overtaken += 1
        course.cuts += cut

    def froze(self, ino: int, generation: int) -> None:
        """A version was frozen: it is to be sent before any other."""
        course = self._courses.setdefault(ino, _Course(self._now_s()))
        assert course.frozen is None, "one frozen version a file"
        course.frozen = generation

    def sending(self, ino: int) -> None:
        """The upload of the frozen version begins."""
        if course := self._courses.get(ino):
            course.sending_s = self._now_s()

    def thawed(self, ino: int) -> None:
        """The frozen version was sent, or will not be."""
        if course := self._courses.get(ino):
            took_s = 0.0 if course.sending_s is None else self._now_s() - course.sending_s
            course.next_s = self._now_s() + max(took_s, self._pause_s)
            course.frozen = course.sending_s = None

    def not_frozen(self, ino: int) -> None:
        """A version was to be frozen, and that failed."""
        if course := self._courses.get(ino):
            course.retry_s = self._now_s() + self._pause_s

    def confirmed(self, ino: int, generation: int) -> None:
        """The service has got this version."""
        self.confirmations += 1
        self._confirmed[ino] = (self.confirmations, generation)

    def calm(self, ino: int) -> None:
        """The service has the newest version, or nobody wants it to have any."""
        self._courses.pop(ino, None)

    # -- what follows from it

    def keeps_changing(self, ino: int) -> bool:
        """Whether the file changes more often than its upload takes."""
        course = self._courses.get(ino)
        if course is None:
            return False
        lasts = course.overtaken >= _CUTS and self._now_s() - course.first_s >= self._pause_s
        return course.frozen is not None or course.cuts >= _CUTS or lasts

    def may_freeze(self, ino: int) -> bool:
        """Whether a version of it may be frozen now."""
        course = self._courses.get(ino)
        if course is None or course.frozen is not None or not self.keeps_changing(ino):
            return False
        return self._now_s() >= max(course.next_s, course.retry_s)

    def is_frozen(self, ino: int) -> bool:
        """Whether a version of it is."""
        course = self._courses.get(ino)
        return course is not None and course.frozen is not None

    def was_confirmed(self, ino: int, generation: int, *, after: int) -> bool:
        """Whether the service has got this version or a later one since there were `after` confirmations."""
        number, confirmed = self._confirmed.get(ino, (0, -1))
        return number > after and confirmed >= generation

    def delay_s(self, ino: int) -> float:
        """How long a version that was closed just now waits before it is sent."""
        course = self._courses.get(ino)
        if course is None or course.frozen is not None or not self.keeps_changing(ino):
            return 0.0
        return min(max(course.next_s - self._now_s(), 0.0), self._pause_s)
