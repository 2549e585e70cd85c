"""Who may send a request, and when: requests are the scarce good of this service.

The limit holds for the whole organization and is shared with everything else that uses the key, so it is learned:
`TokenBucket` (pure, time is passed in) holds the pace, `Budget` the queue. The server's own figure wins over a guess;
a 429 slows the pace, which then comes back by itself.
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
from remotefs.config import ServiceConfig

_log = logging.getLogger(__name__)
# The server's starting figures, by shape (files-api.md, section 3).
GA_LIMIT_PER_MINUTE = 500
BETA_LIMIT_PER_MINUTE = 100
_BURST_FRACTION = 0.1
# A 429 at the known limit: others use the key too, so a fifth less, once for all requests that were under way together.
_SLOWER = 0.8
_SLOWEST = 0.05
_SLOWER_EVERY_S = 5.0
# Back to the full pace in about ten minutes.
_FASTER_PER_S = 1 / 600
# That reads wait for the limit is logged no more often.
_TELL_EVERY_S = 600.0


class Priority(IntEnum):
    """Who goes first; a smaller value is more urgent."""

    INTERACTIVE_READ = 0
    CLOSE_UPLOAD = 1
    FIRST_LISTING = 2
    QUEUED_UPLOAD = 3
    DELETE = 4
    REUPLOAD = 5
    POLL = 6
    PREFETCH = 7


class BudgetStatistics(msgspec.Struct, frozen=True):
    """A snapshot: `limit_per_minute` None means no limit is known; `paused_s` is what is left of a server's pause."""

    limit_per_minute: float | None
    available: float
    paused_s: float
    waiting: Mapping[str, int]
    granted: int
    rate_limited: int


class Ticket:
    """A place in the queue whose owner can move it forward: a queued upload that a close now waits for.

    It also tells who waits for the reply whether the request is out: `is_waiting` for its turn, or for the pause that
    an answer asked for; `fresh_at` is when such a wait last ended or an answer came, in seconds of the budget's clock.
    """

    __slots__ = ("_priority", "fresh_at", "is_waiting")

    def __init__(self, priority: Priority) -> None:
        self._priority = priority
        self.is_waiting = False
        self.fresh_at = -math.inf

    @property
    def priority(self) -> Priority:
        """The priority it has now."""
        return self._priority

    def promote(self, priority: Priority) -> None:
        """Make it at least as urgent as `priority`; its place among equals is by the time it came."""
        self._priority = min(self._priority, priority)

    @contextmanager
    def waiting(self, clock: Callable[[], float] = trio.current_time) -> Iterator[None]:
        """The request is held back here meanwhile; the service is not to blame."""
        self.is_waiting = True
        try:
            yield
        finally:
            self.is_waiting = False
            self.fresh_at = clock()


class TokenBucket:
    """The pace: `limit_per_minute` tokens a minute, at most a tenth of them saved up. Times are seconds of one clock.

    Invariant: 0 <= tokens <= burst, and `_stamp` is the time for which `_tokens` is true (ahead of now in a pause).
    """

    def __init__(self, limit_per_minute: float | None, now: float) -> None:
        self._limit = limit_per_minute
        self._factor = 1.0
        self._tokens = self._burst()
        self._stamp = now
        self._paused_until = now
        self._slowed_at = -math.inf

    def limit_per_minute(self, now: float) -> float | None:
        """The pace in force, None for none."""
        self._refill(now)
        return self._pace()

    def available(self, now: float) -> float:
        """Tokens that can be taken at once."""
        self._refill(now)
        return 0.0 if now < self._paused_until else self._tokens

    def paused_s(self, now: float) -> float:
        """What is left of a pause."""
        return max(0.0, self._paused_until - now)

    def wait_s(self, now: float, count: int = 1) -> float:
        """Seconds until `count` tokens could have been taken one after another."""
        self._refill(now)
        lacking = max(0.0, count - self._tokens)
        return self.paused_s(now) + (lacking / self._rate() if lacking else 0.0)

    def take(self, now: float) -> bool:
        """Take one token if there is one."""
        # Sums of many small refills fall short of 1 by rounding; a waiter must not spin for that.
        if self.available(now) < 1 - 1e-9:
            return False
        self._tokens = max(0.0, self._tokens - 1)
        return True

    def give_back(self) -> None:
        """A token that was taken and not used."""
        self._tokens = min(self._burst(), self._tokens + 1)

    def set_limit(self, limit_per_minute: float | None, now: float) -> None:
        """Another pace from now on."""
        self._refill(now)
        self._limit = limit_per_minute
        self._tokens = min(self._tokens, self._burst())

    def cap(self, remaining: float, now: float) -> None:
        """The server says that only `remaining` are left."""
        self._refill(now)
        self._tokens = min(self._tokens, max(0.0, remaining))

    def pause(self, seconds: float, now: float) -> None:
        """No token before `seconds` have passed; then one at once, the others at the pace, so that no burst follows."""
        self._refill(now)
        self._paused_until = max(self._paused_until, now + seconds)
        if self._limit is not None:
            self._tokens, self._stamp = min(self._burst(), 1.0), self._paused_until

    def slow_down(self, now: float) -> None:
        """Somebody else uses the limit too."""
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
    """Hands out requests by priority, then in the order of coming.

    `limit_per_minute` None: no limit until the server names one. `ceiling_per_minute` bounds what is learned: a user
    who set a figure does not want more. `clock` gives seconds; by default trio's, so that a MockClock drives it.
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
    def for_service(cls, config: ServiceConfig) -> Budget:
        """As the settings say: None is the limit of the shape, 0 none, a figure is a start and a ceiling."""
        chosen = config.requests_per_minute
        if chosen is None:
            return cls(BETA_LIMIT_PER_MINUTE if config.shape == "beta" else GA_LIMIT_PER_MINUTE)
        return cls(None) if chosen <= 0 else cls(chosen, ceiling_per_minute=chosen)

    @property
    def limit_per_minute(self) -> float | None:
        """The pace as learned so far; None when no limit is known."""
        return self._bucket.limit_per_minute(self._clock())

    async def acquire(self, whom: Priority | Ticket) -> None:
        """Wait for the right to send one request. A cancelled wait costs nothing."""
        waiter = _Waiter(whom if isinstance(whom, Ticket) else Ticket(whom), self._came)
        self._came += 1
        self._waiters.append(waiter)
        try:
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
        self._tell_of_shortage(waiter.ticket)  # a reader may have joined it meanwhile

    def _tell_of_shortage(self, ticket: Ticket) -> None:
        """Readers feel it: say why, once in a while."""
        now = self._clock()
        if ticket.priority is Priority.INTERACTIVE_READ and now - self._told_at >= _TELL_EVERY_S:
            self._told_at = now
            limit = self._bucket.limit_per_minute(now)
            pace = "as the service asked" if limit is None else f"{limit:.0f} a minute"
            _log.info("reads wait for the request limit (%s); they go on by themselves", pace)

    def eta_s(self, priority: Priority) -> float:
        """Seconds until a request of `priority` that asks now would go out, if nobody more urgent comes."""
        ahead = sum(waiter.ticket.priority <= priority for waiter in self._waiters)
        return self.pace_s(ahead + 1)

    def pace_s(self, requests: int) -> float:
        """Seconds until so many requests, those that wait already among them, can have gone out."""
        return self._bucket.wait_s(self._clock(), requests)

    def on_reply(self, headers: Mapping[str, str]) -> None:
        """Learn from the rate headers of any reply."""
        now = self._clock()
        if limit := bounds.rate(headers.get("anthropic-ratelimit-requests-limit")):
            self._bucket.set_limit(min(limit, self._ceiling or limit), now)
        remaining = bounds.rate(headers.get("anthropic-ratelimit-requests-remaining"))
        if remaining is not None and self.limit_per_minute is not None:
            self._bucket.cap(remaining, now)

    def on_rate_limited(self, retry_after_s: float | None) -> None:
        """A 429 that clears by waiting: everybody pauses, and goes slower for a while."""
        now = self._clock()
        self._rate_limited += 1
        self._bucket.slow_down(now)
        self._bucket.pause(min(retry_after_s or 0.0, bounds.LONGEST_WAIT_S), now)

    def lower_limit(self, limit_per_minute: float) -> None:
        """What is known to be the limit now, unless it is lower already or there is none."""
        current = self.limit_per_minute
        if current is not None and limit_per_minute < current:
            self._bucket.set_limit(limit_per_minute, self._clock())

    def statistics(self) -> BudgetStatistics:
        """A snapshot for `status` and for tests that count requests."""
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
        """Give what tokens there are to the most urgent who wait."""
        now = self._clock()
        while self._waiters and self._bucket.take(now):
            first = min(self._waiters, key=_Waiter.rank)
            self._waiters.remove(first)
            first.granted = True
            first.wake.set()
            self._granted += 1

    def _leave(self, waiter: _Waiter) -> None:
        """A cancelled waiter goes; a token that it was given meanwhile is the next one's, at once."""
        if not waiter.granted:
            self._waiters.remove(waiter)
            return
        self._granted -= 1
        self._bucket.give_back()
        self._hand_out()
