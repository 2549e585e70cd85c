"""The request budget: decides who may send a request, and when.

Requests are the scarce resource of this service. The limit holds for the whole organization and is shared with
everything else that uses the key, so the budget learns it instead of assuming it. `TokenBucket` (pure: the caller
passes in the time) owns the pace, `Budget` owns the queue. A limit that the server names replaces the guess; a 429
slows the pace, and the pace recovers by itself.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

import msgspec
import trio

from remotefs.api import bounds
from remotefs.config import ServiceConfig, Shape

_log = logging.getLogger(__name__)
# The vendor's figure for each shape of the API: where the budget starts until a reply names the limit.
GA_LIMIT_PER_MINUTE = 500
BETA_LIMIT_PER_MINUTE = 100
# At most this part of a minute's requests is saved up for a burst.
_BURST_FRACTION = 0.1
# A 429 although this client kept to the known limit means that others use the key too. It cuts the pace by a fifth, but
# only once in `_SLOWER_EVERY_S`: requests that were under way together all get a 429 for the same reason.
_SLOWER = 0.8
_SLOWEST = 0.05
_SLOWER_EVERY_S = 5.0
# The pace is back at the full limit after about ten minutes without a 429.
_FASTER_PER_S = 1 / 600
# The log says at most this often that reads wait for the limit.
_TELL_EVERY_S = 600.0


class Priority(IntEnum):
    """The urgency of a request; the smallest value goes first."""

    INTERACTIVE_READ = 0
    CLOSE_UPLOAD = 1
    FIRST_LISTING = 2
    QUEUED_UPLOAD = 3
    DELETE = 4
    REUPLOAD = 5
    POLL = 6
    PREFETCH = 7


class BudgetStatistics(msgspec.Struct, frozen=True):
    """A snapshot of the budget.

    `limit_per_minute` is None when no limit is known, `available` the requests that may go out at once, `paused_s` the
    seconds left of a pause that the server asked for, `waiting` the number of waiters by the name of their priority.
    """

    limit_per_minute: float | None
    available: float
    paused_s: float
    waiting: Mapping[str, int]
    granted: int
    rate_limited: int


class Ticket:
    """A place in the queue that its owner can move forward, as for a queued upload that a close now waits for.

    A reader that waits for a reply also learns from it whether the service is to blame for the wait. While `is_waiting`
    the request has not been sent: it waits for its turn, or for a pause that the service asked for. `fresh_at` is when
    such a wait last ended or an answer last came, in seconds of the budget's clock.
    """

    __slots__ = ("_held_s", "_held_since", "_priority", "fresh_at", "is_waiting")

    def __init__(self, priority: Priority) -> None:
        self._priority = priority
        self.is_waiting = False
        self.fresh_at = -math.inf
        self._held_s = self._held_since = 0.0

    @property
    def priority(self) -> Priority:
        """Return the current priority."""
        return self._priority

    def promote(self, priority: Priority) -> None:
        """Make the request at least as urgent as `priority`. Among equals it keeps its place by time of arrival."""
        self._priority = min(self._priority, priority)

    @contextmanager
    def waiting(self, clock: Callable[[], float] = trio.current_time) -> Iterator[None]:
        """Mark the request as held back on this side for the duration of the block; set `fresh_at` at its end."""
        self.is_waiting, self._held_since = True, clock()
        try:
            yield
        finally:
            self.is_waiting = False
            self.fresh_at = clock()
            self._held_s += self.fresh_at - self._held_since

    def held_s(self, now: float) -> float:
        """Return the seconds that the request has been held back on this side up to `now`."""
        return self._held_s + (now - self._held_since if self.is_waiting else 0.0)


class TokenBucket:
    """The pace: `limit_per_minute` tokens a minute, at most a tenth of them saved up.

    `limit_per_minute` None means no limit. All times are seconds of one clock. `_factor` (0.05 to 1) is the part of the
    limit that is used since the last 429; it grows back with time.

    Invariant: 0 <= tokens <= burst. `_stamp` is the time at which `_tokens` is correct; during a pause it lies in the
    future, so that no token is added before the pause ends.
    """

    def __init__(self, limit_per_minute: float | None, now: float) -> None:
        self._limit = limit_per_minute
        self._factor = 1.0
        self._tokens = self._burst()
        self._stamp = now
        self._paused_until = now
        self._slowed_at = -math.inf

    def limit_per_minute(self, now: float) -> float | None:
        """Return the pace in force in requests per minute, None when there is no limit."""
        self._refill(now)
        return self._pace()

    def available(self, now: float) -> float:
        """Return the number of tokens that can be taken at once; 0 during a pause."""
        self._refill(now)
        return 0.0 if now < self._paused_until else self._tokens

    def paused_s(self, now: float) -> float:
        """Return the seconds that are left of a pause, 0 when there is none."""
        return max(0.0, self._paused_until - now)

    def wait_s(self, now: float, count: int = 1) -> float:
        """Return the seconds until `count` tokens can have been taken one after another."""
        self._refill(now)
        lacking = max(0.0, count - self._tokens)
        return self.paused_s(now) + (lacking / self._rate() if lacking else 0.0)

    def take(self, now: float) -> bool:
        """Take one token if there is one; return whether it was taken."""
        # The sum of many small refills can fall short of 1 by a rounding error. Without the tolerance the waiter would
        # compute a wait of almost 0 s and spin.
        if self.available(now) < 1 - 1e-9:
            return False
        self._tokens = max(0.0, self._tokens - 1)
        return True

    def give_back(self) -> None:
        """Put back a token that was taken and not used."""
        self._tokens = min(self._burst(), self._tokens + 1)

    def set_limit(self, limit_per_minute: float | None, now: float) -> None:
        """Set the limit in requests per minute from now on; None for no limit."""
        self._refill(now)
        self._limit = limit_per_minute
        self._tokens = min(self._tokens, self._burst())

    def cap(self, remaining: float, now: float) -> None:
        """Keep at most `remaining` tokens, the number of requests that the server says are left."""
        self._refill(now)
        self._tokens = min(self._tokens, max(0.0, remaining))

    def pause(self, seconds: float, now: float) -> None:
        """Hand out no token for `seconds`, then one at once and the others at the pace, so that no burst follows."""
        self._refill(now)
        self._paused_until = max(self._paused_until, now + seconds)
        if self._limit is not None:
            self._tokens, self._stamp = min(self._burst(), 1.0), self._paused_until

    def slow_down(self, now: float) -> None:
        """Slow the pace by a fifth, because others use the limit too; do nothing within 5 s of the last time."""
        if now - self._slowed_at >= _SLOWER_EVERY_S:
            self._slowed_at = now
            self._factor = max(_SLOWEST, self._factor * _SLOWER)

    def _refill(self, now: float) -> None:
        passed = now - self._stamp
        if passed <= 0:
            return
        self._stamp = now
        self._factor = min(1.0, self._factor + passed * _FASTER_PER_S)
        self._tokens = min(self._burst(), self._tokens + passed * self._rate())

    def _pace(self) -> float | None:
        return None if self._limit is None else max(self._limit * self._factor, 1.0)

    def _rate(self) -> float:
        limit = self._pace()
        return math.inf if limit is None else limit / 60

    def _burst(self) -> float:
        limit = self._pace()
        return math.inf if limit is None else max(1.0, limit * _BURST_FRACTION)


class _Waiter:
    __slots__ = ("granted", "number", "ticket", "wake")

    def __init__(self, ticket: Ticket, number: int) -> None:
        self.ticket = ticket
        self.number = number
        self.granted = False
        self.wake = trio.Event()

    def rank(self) -> tuple[Priority, int]:
        return self.ticket.priority, self.number


class Budget:
    """Hands out requests by priority, and in order of arrival within a priority.

    `limit_per_minute` None means no limit until the server names one. `ceiling_per_minute` caps the learned limit,
    because a user who set a figure does not want more. `clock` returns seconds; the default is trio's, so that a
    MockClock drives it in tests.

    There is no task that hands out: every waiter sleeps until the next token is due, then serves the whole queue, most
    urgent first. A waiter whose time comes may therefore give the token to another one that is more urgent.
    """

    def __init__(
        self,
        limit_per_minute: float | None,
        *,
        ceiling_per_minute: float | None = None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._clock = clock
        self._ceiling = ceiling_per_minute
        self._bucket = TokenBucket(limit_per_minute, clock())
        self._waiters: list[_Waiter] = []
        self._came = 0
        self._granted = 0
        self._rate_limited = 0
        self._told_at = -math.inf

    @classmethod
    def for_service(cls, config: ServiceConfig, *, learned: Shape = "auto") -> Budget:
        """Return the budget that `config.requests_per_minute` asks for.

        None starts with the documented limit of the shape, of the `learned` one where the setting is `auto`; 0 or less
        means no limit; a figure is start and ceiling.
        """
        chosen = config.requests_per_minute
        if chosen is None:
            shape = learned if config.shape == "auto" else config.shape
            return cls(BETA_LIMIT_PER_MINUTE if shape == "beta" else GA_LIMIT_PER_MINUTE)
        return cls(None) if chosen <= 0 else cls(chosen, ceiling_per_minute=chosen)

    @property
    def limit_per_minute(self) -> float | None:
        """Return the pace learned so far in requests per minute; None when no limit is known."""
        return self._bucket.limit_per_minute(self._clock())

    async def acquire(self, whom: Priority | Ticket) -> None:
        """Wait for the right to send one request, as urgent as `whom`. A cancelled wait uses up no request."""
        waiter = _Waiter(whom if isinstance(whom, Ticket) else Ticket(whom), self._came)
        self._came += 1
        self._waiters.append(waiter)
        try:
            # Tasks that ask in the same tick join the queue during the checkpoint: the most urgent of them goes first.
            await trio.lowlevel.checkpoint()
            self._hand_out()
            if not waiter.granted:
                await self._wait_in_turn(waiter)
        except BaseException:
            self._leave(waiter)
            raise

    async def _wait_in_turn(self, waiter: _Waiter) -> None:
        with waiter.ticket.waiting(self._clock):
            while not waiter.granted:
                self._tell_of_shortage(waiter.ticket)
                with trio.move_on_after(self._bucket.wait_s(self._clock())):
                    await waiter.wake.wait()
                self._hand_out()
        self._tell_of_shortage(waiter.ticket)  # a reader may have promoted the ticket during the wait

    def _tell_of_shortage(self, ticket: Ticket) -> None:
        """Log, at most every 600 s, that the request limit holds up a reader."""
        now = self._clock()
        if ticket.priority is Priority.INTERACTIVE_READ and now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            limit = self._bucket.limit_per_minute(now)
            pace = "as the service asked" if limit is None else f"{limit:.0f} a minute"
            _log.info("reads wait for the request limit (%s); they go on by themselves", pace)

    def eta_s(self, priority: Priority) -> float:
        """Return the seconds until a request of `priority` that asks now would go out, if nobody more urgent comes."""
        ahead = sum(waiter.ticket.priority <= priority for waiter in self._waiters)
        return self.pace_s(ahead + 1)

    def pace_s(self, requests: int) -> float:
        """Return the seconds until `requests` requests can have gone out; those already waiting count among them."""
        return self._bucket.wait_s(self._clock(), requests)

    def on_reply(self, headers: Mapping[str, str]) -> None:
        """Learn the limit and the remaining requests from the rate headers of a reply of any status."""
        now = self._clock()
        # A limit of 0 is ignored: it would stop everything for good.
        if limit := bounds.rate(headers.get("anthropic-ratelimit-requests-limit")):
            self._bucket.set_limit(min(limit, self._ceiling or limit), now)
        remaining = bounds.rate(headers.get("anthropic-ratelimit-requests-remaining"))
        if remaining is not None and self.limit_per_minute is not None:
            self._bucket.cap(remaining, now)

    def on_rate_limited(self, retry_after_s: float | None) -> None:
        """Pause all requests for `retry_after_s` seconds (at most 600) after a 429, and slow the pace for a while.

        Not for a 429 that waiting does not clear (SpendCapReached).
        """
        now = self._clock()
        self._rate_limited += 1
        self._bucket.slow_down(now)
        self._bucket.pause(min(retry_after_s or 0.0, bounds.LONGEST_WAIT_S), now)

    def lower_limit(self, limit_per_minute: float) -> None:
        """Lower the limit to `limit_per_minute`; never raise it, nor set one where there is none."""
        current = self.limit_per_minute
        if current is not None and limit_per_minute < current:
            self._bucket.set_limit(limit_per_minute, self._clock())

    def statistics(self) -> BudgetStatistics:
        """Return a snapshot for `status` and for tests that count requests."""
        now = self._clock()
        waiting: dict[str, int] = {}
        for waiter in self._waiters:
            name = waiter.ticket.priority.name.lower()
            waiting[name] = waiting.get(name, 0) + 1
        return BudgetStatistics(
            limit_per_minute=self.limit_per_minute,
            available=self._bucket.available(now),
            paused_s=self._bucket.paused_s(now),
            waiting=waiting,
            granted=self._granted,
            rate_limited=self._rate_limited,
        )

    def _hand_out(self) -> None:
        """Give the available tokens to the most urgent waiters."""
        now = self._clock()
        while self._waiters and self._bucket.take(now):
            first = min(self._waiters, key=_Waiter.rank)
            self._waiters.remove(first)
            first.granted = True
            first.wake.set()
            self._granted += 1

    def _leave(self, waiter: _Waiter) -> None:
        """Remove a cancelled waiter. If it already had a token, pass that to the next waiter at once."""
        if not waiter.granted:
            self._waiters.remove(waiter)
            return
        self._granted -= 1
        self._bucket.give_back()
        self._hand_out()
