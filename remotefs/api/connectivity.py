"""Whether the service can be reached, as the last requests told: one owner for what everybody has to know about it.

`up` and `down` come from whoever got an answer or none. `lost` is stronger than down: a small request had no answer
either, so readers do not wait and only the probe asks (R7). `suspended` is another matter: the mount must not act on
the service at all (another account answered, S1), until a person decides.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from remotefs.backoff import backoff_s
from remotefs.broadcast import Broadcast
from remotefs.errors import (
    AccountError,
    AmbiguousOutcome,
    AuthenticationFailed,
    BillingProblem,
    DeadlineExceeded,
    PermissionRefused,
    RefusedError,
    RemotefsError,
    SpendCapReached,
    TransportError,
    Unreachable,
)

T = TypeVar("T")

# While the service is out of reach it is tried after 1 s, 2 s, 4 s … at most this long apart.
MAX_RETRY_S = 30.0
# For `status`.
_ERRORS_KEPT = 10
# Answers that mean that nothing else would be taken either.
_BLOCKING = (AuthenticationFailed, BillingProblem, PermissionRefused, SpendCapReached)


@dataclass(frozen=True)
class RequestFailure:
    """A request that failed `at_s` (seconds since the epoch); `request_id` where the service answered."""

    at_s: float
    message: str
    request_id: str | None


@dataclass(frozen=True)
class ConnectivityStatistics:
    """What `status` shows of the way to the service."""

    online: bool
    reason: str | None
    suspended: str | None
    # The newest first.
    errors: tuple[RequestFailure, ...]


class Connectivity:
    """Starts out as down: nothing is changed at a service that has not yet shown whose it is (S1).

    Without `vouched` a refusal is no answer until a success was vouched for: it does not show whose files these are.
    Invariant: `lost` is None while the link is up.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time, *, vouched: bool = True) -> None:
        self._clock = clock
        self._reason: str | None = "the service has not answered yet"
        self._vouched = vouched
        # The error of the last request that had no answer at all, while that is why it is down.
        self._unanswered: TransportError | None = None
        self._is_lost = False
        # How often it has got out of reach.
        self.times_lost = 0
        self._heard_at = -math.inf
        self._suspended: str | None = None
        # Tries in a row that failed, and when the last of them did.
        self._failures = 0
        self._tried_at = -math.inf
        self._changed = Broadcast()
        self._errors: deque[RequestFailure] = deque(maxlen=_ERRORS_KEPT)

    @property
    def is_up(self) -> bool:
        """Whether requests are worth sending."""
        return self._reason is None and self._suspended is None

    @property
    def reason(self) -> str | None:
        """Why it is down, if it is."""
        return self._reason

    @property
    def is_trusted(self) -> bool:
        """Whether what answers has shown that it is the account of this state folder, and nothing else since (S1)."""
        return self._vouched and self._suspended is None

    @property
    def unanswered(self) -> TransportError | None:
        """The error of the last request, while the link is down because it had no answer: the probe asks then."""
        return self._unanswered

    @property
    def lost(self) -> TransportError | None:
        """Why the service counts as out of reach: DeadlineExceeded, or Unreachable; None while it may answer."""
        return self._unanswered if self._is_lost else None

    @property
    def suspended(self) -> str | None:
        """Why nothing may be sent, if so."""
        return self._suspended

    @property
    def retry_s(self) -> float:
        """How long to wait before the service is tried again."""
        return backoff_s(1.0, MAX_RETRY_S, self._failures - 1) if self._failures else 0.0

    def up(self) -> None:
        """An answer came."""
        if self._reason is not None:
            self._changed.notify()
        self._reason, self._failures = None, 0
        self._unanswered, self._is_lost = None, False

    def down(self, error: RemotefsError, *, since: float | None = None) -> None:
        """Note that no answer came, or one that means that nothing else would be taken.

        Requests that were under way together fail together and count as one try: `since` is when this one began.
        """
        if self._reason is None:
            self._changed.notify()
        if since is None or since >= self._tried_at:
            self._failures += 1
            self._tried_at = self._tried_at if since is None else self._clock()
        self._reason = str(error)
        self._unanswered = error if isinstance(error, Unreachable | DeadlineExceeded) else None
        self._is_lost &= self._unanswered is not None

    def heard(self) -> None:
        """Note that the service has sent something: the head of a reply, a piece of its body."""
        self._heard_at = self._clock()
        if self._is_lost:
            self.up()

    def unheard(self, error: Unreachable | DeadlineExceeded, *, since: float) -> None:
        """Note that a small request had no answer: the service is out of reach, unless it sent anything else `since`.

        This does not count as a try, so the probe asks at once.
        """
        if self._heard_at <= since and not self._is_lost:
            self._reason, self._unanswered, self._is_lost = str(error), error, True
            self.times_lost += 1
            self._changed.notify()

    def vouch(self) -> None:
        """The account of this state folder answered."""
        self._vouched = True

    def suspend(self, error: AccountError) -> None:
        """Stop all that changes the service until the mount is started anew."""
        self._suspended = str(error)
        self._changed.notify()

    async def changed(self) -> None:
        """Return at the next change between up, down, lost and suspended."""
        await self._changed.wait()

    async def watch(self, request: Callable[[], Awaitable[T]]) -> T:
        """Carry a request out and note what it tells about the way to the service."""
        began = self._clock()
        try:
            reply = await request()
        except RemotefsError as error:
            self._errors.appendleft(RequestFailure(time.time(), str(error), error.request_id))
            self.learn(error, since=began)
            raise
        self.up()
        return reply

    def learn(self, error: RemotefsError, *, since: float | None = None) -> None:
        """What a failed request tells: no answer at all means down, a refusal of one file means up."""
        if isinstance(error, _BLOCKING) or (
            isinstance(error, TransportError) and not isinstance(error, AmbiguousOutcome)
        ):
            self.down(error, since=since)
        elif isinstance(error, RefusedError) and self._vouched:
            self.up()
        elif isinstance(error, RefusedError):
            self.down(error, since=since)

    def statistics(self) -> ConnectivityStatistics:
        """A record of now."""
        return ConnectivityStatistics(self.is_up, self._reason, self._suspended, tuple(self._errors))
