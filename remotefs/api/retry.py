"""What is sent again, and when: a pure decision over (attempt, error, time, chance).

Waits follow the vendor's SDKs: `retry-after-ms`, else `retry-after` in seconds or as a date, else
min(0.5 * 2**attempt, 8) s times 0.75..1. `x-should-retry` overrides the status. An ambiguous outcome is never sent
again from here: a second upload would be a second file.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from remotefs.api import bounds
from remotefs.errors import AmbiguousOutcome, RefusedError, RemotefsError, SpendCapReached, TransportError

# As the SDKs: a third failure in a row is news for the caller, who has a queue.
MAX_RETRIES = 2
# A server that names its wait is believed more often, within the deadline.
MAX_TOLD_RETRIES = 10
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
# Without a deadline nobody is kept longer than this by a server's word.
LONGEST_TOLD_WAIT_S = 60.0
_RETRIED_STATUSES = frozenset({408, 409, 429})


class Retry(msgspec.Struct, frozen=True):
    """Send it again after so many seconds."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """The error stands."""


class Hints(msgspec.Struct, frozen=True):
    """What a reply's headers say about sending again; None where they say nothing that can be understood."""

    after_s: float | None = None
    should_retry: bool | None = None


def read_hints(headers: Mapping[str, str], wall_now_s: float) -> Hints:
    """`wall_now_s` is unix time, for a `retry-after` that is a date."""
    after_s = bounds.wait_s(headers.get("retry-after-ms"), 0.001)
    if after_s is None:
        after_s = bounds.wait_s(headers.get("retry-after"))
    if after_s is None:
        after_s = bounds.wait_until_s(headers.get("retry-after"), wall_now_s)
    word = headers.get("x-should-retry", "").strip().lower()
    return Hints(after_s, {"true": True, "false": False}.get(word))


def decide(
    attempt: int, error: RemotefsError, *, elapsed_s: float, deadline_s: float | None, chance: float
) -> Retry | GiveUp:
    """Whether attempt number `attempt` (from 0), which ended in `error`, is followed by another.

    `elapsed_s` of `deadline_s` are used up (None: no deadline); `chance` in 0..1 spreads the waits. A wait that
    would end after the deadline is given up at once, for nobody gains by it.
    """
    if not _may_retry(error):
        return GiveUp()
    told = error.retry_after_s if isinstance(error, RefusedError) else None
    if attempt >= (MAX_RETRIES if told is None else MAX_TOLD_RETRIES):
        return GiveUp()
    after_s = backoff_s(attempt, chance) if told is None else told
    patience_s = LONGEST_TOLD_WAIT_S if deadline_s is None else deadline_s - elapsed_s
    return Retry(after_s) if after_s < patience_s else GiveUp()


def backoff_s(attempt: int, chance: float) -> float:
    """Seconds to wait after attempt number `attempt` when the server said nothing."""
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 16), LONGEST_WAIT_S) * (1 - 0.25 * chance)


def _may_retry(error: RemotefsError) -> bool:
    match error:
        case AmbiguousOutcome():
            return False
        case TransportError():
            return True
        case RefusedError(should_retry=bool(told)):
            return told
        case SpendCapReached():
            return False
        case RefusedError(status=status):
            return status in _RETRIED_STATUSES or status >= 500
        case _:
            return False
