"""How many parallel streams pay for one reader, learned from the rate at which bytes come. Pure; times are passed in.

One connection can be slower than the link. Only a trial shows whether it is. A trial uses MAX_CONCURRENCY streams at
once, so that the difference is larger than chance. They are kept if they bring 1.5 times the rate; otherwise the trial
ends, and the next one comes after 10 minutes at the earliest, because trials cost requests. After each 2 GiB half as
many streams are tried, and kept if they bring 85 % of the rate. The result is remembered over the end of the mount.

A rate counts only if all streams were in use, and if a reader waited for the network for at least half of the bytes:
otherwise the reader set the pace.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_CONCURRENCY = 8
# A rate is measured over at least this time, and over this many bytes for each stream.
_SAMPLE_S = 0.2
_SAMPLE_BYTES = 1 << 20
_GAIN = 1.5
# Half as many streams are enough if they bring this fraction of the rate.
_ENOUGH = 0.85
# The pause after a trial that did not pay. Trials cost requests.
_REST_S = 600.0
# The rate that a trial is compared with is at most this old.
_FRESH_S = 30.0
# Half as many streams are tried each time this many bytes have come.
_VERIFY_BYTES = 2 << 30


@dataclass
class _Sample:
    began: float
    size: int = 0
    # The bytes of it that came while a reader waited for the network.
    reader_waiting: int = 0


class StreamConcurrency:
    """Learns how many streams to use; `count` is the number for now.

    `remember` is called with a number that was found to pay.
    """

    def __init__(self, paying: int = 1, remember: Callable[[int], None] = lambda _: None) -> None:
        self._paying = max(1, min(paying, MAX_CONCURRENCY))
        self._remember = remember
        self.count = self._paying
        self._rate, self._rated_at = 0.0, 0.0
        self._rest_until = 0.0
        self._unverified = 0
        self._sample: _Sample | None = None

    def received(self, size: int, *, flowing: int, reader_waiting: bool, now: float) -> None:
        """Note a piece of `size` bytes that came at `now` while `flowing` replies were coming in.

        `reader_waiting` tells whether a reader of the file waits for the network.
        """
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
        """Discard the present sample: something else than the number of streams sets the pace."""
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
