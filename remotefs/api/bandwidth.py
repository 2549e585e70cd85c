"""The limits of bandwidth: how many bytes of files may go up and come down in a second.

`ByteBucket` (pure: the caller passes in the time) owns the pace, `Bandwidth` the queue of one direction. A stream takes
small slices in turn, so the streams share the rate evenly and bytes keep flowing on each of them. A stream that has had
little goes first: a small file does not queue behind the readahead of a large one. The bytes of the shared store take
their slices of the same rate, because they go over the same link.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import trio

# The time that a slice takes at the limit: short, so that others get their turn and no timeout of a server is near.
_SLICE_S = 0.05
# What may be made up for when a busy machine lets a slice come late.
_SAVED_S = 0.2
_LEAST_SLICE_BYTES = 4 * 1024
_MOST_SLICE_BYTES = 512 * 1024
# A stream that has had fewer bytes is early: a reader waits for a whole small file, or looks at a large one.
_EARLY_BYTES = 256 * 1024
# Each turn of this number goes to the stream that waits longest, so that many small files do not stop a large one.
_FAIR_TURN = 4
# The clock need not be waited for to the last bit: the wait would be almost 0 s, and the waiter would spin.
_TOLERANCE_S = 1e-6


class ByteBucket:
    """The pace: `rate` bytes a second, 0 for no limit. A slice may be taken while the bucket owes nothing.

    Times are seconds of one clock. `_owed` is what is left, at `_stamp`, of the slices that were taken.
    Invariant: `_owed` is at least minus `_SAVED_S` of the rate, which is saved up while no stream takes anything.
    """

    def __init__(self, rate: int, now: float) -> None:
        self.rate = rate
        self._owed = 0.0
        self._stamp = now

    @property
    def slice_bytes(self) -> int:
        """Return how many bytes a stream should take at a time; the most where there is no limit."""
        if not self.rate:
            return _MOST_SLICE_BYTES
        return min(max(int(self.rate * _SLICE_S), _LEAST_SLICE_BYTES), _MOST_SLICE_BYTES)

    def set_rate(self, rate: int, now: float) -> None:
        """Set the bytes per second from now on; 0 for no limit."""
        self._settle(now)
        self.rate = rate

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next slice may be taken."""
        self._settle(now)
        return max(self._owed, 0.0) / self.rate if self.rate else 0.0

    def take(self, size: int, now: float) -> None:
        """Take `size` bytes; what follows waits until they have had their time. Less than 0 gives bytes back."""
        self._settle(now)
        self._owed = max(self._owed + size, -_SAVED_S * self.rate) if self.rate else 0.0

    def _settle(self, now: float) -> None:
        self._owed = max(self._owed - (now - self._stamp) * self.rate, -_SAVED_S * self.rate) if self.rate else 0.0
        self._stamp = now


class _Turn:
    __slots__ = ("event", "is_early", "number", "size")

    def __init__(self, number: int, size: int, *, is_early: bool) -> None:
        self.number = number
        self.size = size
        self.is_early = is_early
        self.event = trio.Event()


class Bandwidth:
    """One direction: hands out slices of the rate (bytes per second, 0 for no limit) to the streams of this process.

    As in `Budget` there is no task that hands out: each stream that waits sleeps until the next slice is due, and then
    serves all that wait.
    """

    def __init__(self, rate: int = 0, clock: Callable[[], float] = trio.current_time) -> None:
        self._clock = clock
        self._bucket = ByteBucket(rate, clock())
        self._turns: list[_Turn] = []
        self._came = 0
        self._granted = 0
        # The bytes of files that have flowed so far, from and to the service.
        self.flowed_bytes = 0

    @property
    def rate(self) -> int:
        """Return the limit in bytes per second, 0 for none."""
        return self._bucket.rate

    @property
    def waiting(self) -> int:
        """Return the number of streams that wait for their turn."""
        return len(self._turns)

    @property
    def slice_bytes(self) -> int:
        """Return how many bytes a stream should send or read at a time."""
        return self._bucket.slice_bytes

    def set_rate(self, rate: int) -> None:
        """Set the bytes per second, 0 for no limit. Streams that wait go on by the new limit."""
        self._bucket.set_rate(rate, self._clock())
        for turn in self._turns:
            turn.event.set()

    async def take(self, size: int, *, had: int) -> None:
        """Wait until `size` more bytes may flow on a stream that has had `had` bytes so far."""
        turn = _Turn(self._came, size, is_early=had < _EARLY_BYTES)
        self._came += 1
        self._turns.append(turn)
        try:
            self._hand_out()
            while turn in self._turns:
                turn.event = trio.Event()
                with trio.move_on_after(self._bucket.wait_s(self._clock())):
                    await turn.event.wait()
                self._hand_out()
        except BaseException:
            if turn in self._turns:
                self._turns.remove(turn)
            else:
                self.correct(-size)
            raise

    async def slice(
        self, read: Callable[[], Awaitable[bytes]], *, had: int, waiting: Callable[[], AbstractContextManager[None]]
    ) -> bytes:
        """Return what `read` returns for a stream that has had `had` bytes, once it is its turn.

        `waiting` is entered while it is not.
        """
        if not self.rate:
            return await read()
        size, got = self.slice_bytes, 0
        with waiting():
            await self.take(size, had=had)
        try:
            piece = await read()
            got = len(piece)
        finally:
            self.correct(got - size)
        return piece

    def correct(self, size: int) -> None:
        """Count `size` bytes that flowed beside a slice, or that it turned out not to need where less than 0."""
        self._bucket.take(size, self._clock())

    def _hand_out(self) -> None:
        while self._turns and self._bucket.wait_s(self._clock()) <= _TOLERANCE_S:
            turn = self._next()
            self._turns.remove(turn)
            self._bucket.take(turn.size, self._clock())
            turn.event.set()

    def _next(self) -> _Turn:
        """Return who goes first: early streams, but each fourth time the one that has waited longest."""
        self._granted += 1
        if self._granted % _FAIR_TURN == 0:
            return min(self._turns, key=lambda turn: turn.number)
        return min(self._turns, key=lambda turn: (not turn.is_early, turn.number))
