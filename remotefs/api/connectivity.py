"""The connection to the service as the last requests showed it, with one owner for all who need to know.

    up ──── no answer, or a refusal that would meet any request ────► down
    down ── an answer ──────────────────────────────────────────────► up
    down ── a small request had no answer either ───────────────────► lost
    lost ── any byte from the service ──────────────────────────────► up

Each caller reports the outcome of its request (`watch`, `up`, `down`). While the service is *lost*, readers do not
wait for it and only `Reconnect` asks (R7). *Suspended* is another matter: another account answered, so the mount must
not act on the service at all until a person decides (S1).
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
    OutOfSockets,
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
# Shown by `status`.
_ERRORS_KEPT = 10
# Refusals that would meet every other request too.
_BLOCKING = (AuthenticationFailed, BillingProblem, PermissionRefused, SpendCapReached)


@dataclass(frozen=True)
class RequestFailure:
    """A request that failed at `at_s` (seconds since the epoch); `request_id` is set if the service answered."""

    at_s: float
    message: str
    request_id: str | None


@dataclass(frozen=True)
class ConnectivityStatistics:
    """The state of the connection for `status`."""

    online: bool
    reason: str | None
    suspended: str | None
    # The newest first.
    errors: tuple[RequestFailure, ...]

    @property
    def trouble(self) -> str | None:
        """Return why nothing is asked of the service, or why it does not answer; None while it does."""
        return self.suspended or self.reason


class Connectivity:
    """Knows whether the service answers. It starts as down, because a service first has to show whose it is (S1).

    Without `vouched`, a refusal does not count as an answer until `vouch` was called: a refusal does not show whose
    files the service holds.
    Invariant: `lost` is None while the connection is up.
    """

    def __init__(self, clock: Callable[[], float] = trio.current_time, *, vouched: bool = True) -> None:
        self._clock = clock
        self._reason: str | None = "the service has not answered yet"
        self._vouched = vouched
        # The error of the last request without any answer, while that is the reason for being down.
        self._unanswered: TransportError | None = None
        self._is_lost = False
        # The number of times that the service was lost.
        self.times_lost = 0
        self._heard_at = -math.inf
        self._suspended: str | None = None
        # The failed tries in a row, and the time of the last one.
        self._failures = 0
        self._tried_at = -math.inf
        self._changed = Broadcast()
        self._errors: deque[RequestFailure] = deque(maxlen=_ERRORS_KEPT)

    @property
    def is_up(self) -> bool:
        """Return whether requests are worth sending."""
        return self._reason is None and self._suspended is None

    @property
    def reason(self) -> str | None:
        """Return why the connection is down, None while it is up."""
        return self._reason

    @property
    def is_trusted(self) -> bool:
        """Return whether the account of this state folder answered, and no other account since (S1)."""
        return self._vouched and self._suspended is None

    @property
    def unanswered(self) -> TransportError | None:
        """Return the error of the last request while the connection is down without an answer (`Reconnect` asks)."""
        return self._unanswered

    @property
    def lost(self) -> TransportError | None:
        """Return why the service is out of reach (DeadlineExceeded or Unreachable), None while it may answer."""
        return self._unanswered if self._is_lost else None

    @property
    def suspended(self) -> str | None:
        """Return why nothing may be sent, None if requests are allowed."""
        return self._suspended

    @property
    def retry_s(self) -> float:
        """Return the seconds to wait before the service is tried again."""
        return backoff_s(1.0, MAX_RETRY_S, self._failures - 1) if self._failures else 0.0

    def up(self) -> None:
        """Note that an answer came."""
        if self._reason is not None:
            self._changed.notify()
        self._reason, self._failures = None, 0
        self._unanswered, self._is_lost = None, False

    def down(self, error: RemotefsError, *, since: float | None = None) -> None:
        """Note that no answer came, or a refusal that would meet every other request too.

        Requests that were under way together fail together and count as one try: `since` is when this one began.
        """
        unanswered = error if isinstance(error, Unreachable | DeadlineExceeded) else None
        # It may have been down already, for want of a first answer or by a refusal: then `Reconnect` does not ask yet.
        if self._reason is None or (unanswered is None) != (self._unanswered is None):
            self._changed.notify()
        if since is None or since >= self._tried_at:
            self._failures += 1
            self._tried_at = self._tried_at if since is None else self._clock()
        self._reason, self._unanswered = str(error), unanswered
        self._is_lost &= unanswered is not None

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
        """Note that the account of this state folder answered."""
        self._vouched = True

    def suspend(self, error: AccountError) -> None:
        """Stop every change at the service until the next mount."""
        self._suspended = str(error)
        self._changed.notify()

    async def changed(self) -> None:
        """Return at the next change between up, down, lost and suspended."""
        await self._changed.wait()

    async def watch(self, request: Callable[[], Awaitable[T]]) -> T:
        """Send a request and note what its outcome says about the connection; return its reply, raise its error."""
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
        """Note what a failed request says: no answer means down, a refusal of one file means up.

        An upload of unknown outcome says neither, nor does a request that this machine had no socket for.
        """
        if isinstance(error, _BLOCKING) or (
            isinstance(error, TransportError) and not isinstance(error, AmbiguousOutcome | OutOfSockets)
        ):
            self.down(error, since=since)
        elif isinstance(error, RefusedError) and self._vouched:
            self.up()
        elif isinstance(error, RefusedError):
            self.down(error, since=since)

    def statistics(self) -> ConnectivityStatistics:
        """Return the state of the connection."""
        return ConnectivityStatistics(self.is_up, self._reason, self._suspended, tuple(self._errors))
