"""How long work that shrinks will take, as fast as it went so far: pure, time is passed in."""

from __future__ import annotations

# With fewer done, the rate says too little.
_FEWEST_DONE = 3


class Eta:
    """Estimates from `now` on (seconds of any clock), with `left` to do; work that is added counts as more to do."""

    def __init__(self, left: int, now: float) -> None:
        self._begun = now
        self._last = left
        self._done = 0

    def seconds(self, left: int, now: float, *, least_s: float = 0.0) -> float | None:
        """Return the seconds until nothing is left, at least `least_s`; None while the rate says too little."""
        self._done += max(0, self._last - left)
        self._last = left
        elapsed = now - self._begun
        if self._done < _FEWEST_DONE or elapsed <= 0:
            return least_s or None
        return max(left * elapsed / self._done, least_s)
