"""How many replies at a time pay for one reader: learned from how fast bytes come. Pure; times are passed in.

One connection can be slower than the link. Whether it is shows only when more are tried: all there may be at once, so
that the difference is clear of chance. They are kept where they bring a good deal more, else the trial ends and is not
made again for a while. Now and then half as many are tried. What was found is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_CONCURRENCY = 8
# A rate is that of at least so long, and of so many bytes over each stream.
_SAMPLE_S = 0.2
_SAMPLE_BYTES = 1 << 20
_GAIN = 1.5
# Half as many are enough when they bring this part of it.
_ENOUGH = 0.85
# After a trial that failed. Trials cost requests.
_REST_S = 600.0
# The rate to compare with must not be older.
_FRESH_S = 30.0
# Whether half as many would do is looked at once in so many bytes.
_VERIFY_BYTES = 2 << 30


@dataclass
class _Sample:
    began: float
    size: int = 0
    # Of it, what came while a reader waited for the network.
    reader_waiting: int = 0


class StreamConcurrency:
    """`count` is how many to use now; `remember` is told what was found to pay."""

    def __init__(self, paying: int = 1, remember: Callable[[int], None] = lambda _: None) -> None:
        self._paying = max(1, min(paying, MAX_CONCURRENCY))
        self._remember = remember
        self.count = self._paying
        self._rate, self._rated_at = 0.0, 0.0
        self._rest_until = 0.0
        self._unverified = 0
        self._sample: _Sample | None = None

    def received(self, size: int, *, flowing: int, reader_waiting: bool, now: float) -> None:
        """A piece came while `flowing` replies were coming in; `reader_waiting`: a reader waits for the network."""
        sample = self._sample
        if flowing > self.count or (sample is None and flowing < self.count):
            self._sample = None
            return
        if sample is None:
            self._sample = _Sample(now)
            return
        sample.size += size
        sample.reader_waiting += size if reader_waiting else 0
        if now - sample.began >= _SAMPLE_S and sample.size >= _SAMPLE_BYTES * self.count:
            self._sample = None
            self._unverified += sample.size
            if 2 * sample.reader_waiting >= sample.size:
                self._judge(sample.size / (now - sample.began), now)

    def not_all_used(self) -> None:
        """Something else than the number of concurrency sets the pace."""
        self._sample = None

    def _judge(self, rate: float, now: float) -> None:
        if self.count == self._paying:
            self._rate, self._rated_at = rate, now
            self._try_another(now)
        elif now - self._rated_at > _FRESH_S:
            self.count = self._paying
        elif self.count > self._paying:
            self._end_trial(rate, now, pays=rate >= _GAIN * self._rate)
        else:
            self._end_trial(rate, now, pays=rate >= _ENOUGH * self._rate)

    def _try_another(self, now: float) -> None:
        if self._paying < MAX_CONCURRENCY and now >= self._rest_until:
            self.count = MAX_CONCURRENCY
        elif self._paying > 1 and self._unverified >= _VERIFY_BYTES:
            self._unverified = 0
            self.count = self._paying // 2

    def _end_trial(self, rate: float, now: float, *, pays: bool) -> None:
        if pays:
            self._paying, self._rate, self._rated_at = self.count, rate, now
            self._remember(self._paying)
        else:
            self._rest_until = now + _REST_S
        self.count = self._paying
