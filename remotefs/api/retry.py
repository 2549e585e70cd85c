"""The retry policy: whether a failed request is sent again, and when. Pure: attempt, error, time and chance go in.

Waits follow the vendor's SDKs: `retry-after-ms`, else `retry-after` in seconds or as a date, else
min(0.5 * 2**attempt, 8) s times 0.75..1. `x-should-retry` overrides the status. A request with an ambiguous outcome is
never retried here: a second upload would be a second file.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from remotefs.api import bounds
from remotefs.errors import AmbiguousOutcome, RefusedError, RemotefsError, SpendCapReached, TransportError

# As the SDKs do. After a third failure in a row the caller decides, because it has a queue to put the request in.
MAX_RETRIES = 2
# When the server names the wait, more retries are worth it, within the deadline.
MAX_ANNOUNCED_RETRIES = 10
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0
# The longest wait that a server can impose on a request without a deadline.
LONGEST_ANNOUNCED_WAIT_S = 60.0
_RETRIED_STATUSES = frozenset({408, 409, 429})


class Retry(msgspec.Struct, frozen=True):
    """Send the request again after `after_s` seconds."""

    after_s: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not send the request again; its error stands."""


class Hints(msgspec.Struct, frozen=True):
    """The hints about retries in a reply's headers; None where a header is missing or cannot be understood."""

    after_s: float | None = None
    should_retry: bool | None = None


def read_hints(headers: Mapping[str, str], wall_now_s: float) -> Hints:
    """Return the hints in a reply's headers. `wall_now_s` is unix time, for a `retry-after` that is a date."""
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
    """Return whether another attempt follows attempt number `attempt` (from 0), which ended in `error`, and when.

    `elapsed_s` of `deadline_s` seconds are used up (None: no deadline); `chance` in 0..1 spreads the waits. When the
    wait would end after the deadline, the answer is to give up now.
    """
    if not _may_retry(error):
        return GiveUp()
    named_s = error.retry_after_s if isinstance(error, RefusedError) else None
    if attempt >= (MAX_RETRIES if named_s is None else MAX_ANNOUNCED_RETRIES):
        return GiveUp()
    after_s = backoff_s(attempt, chance) if named_s is None else named_s
    if attempt >= MAX_RETRIES:
        # A server that goes on to name no wait at all would get all these requests at once.
        after_s = max(after_s, backoff_s(attempt - MAX_RETRIES, chance))
    patience_s = LONGEST_ANNOUNCED_WAIT_S if deadline_s is None else deadline_s - elapsed_s
    return Retry(after_s) if after_s < patience_s else GiveUp()


def backoff_s(attempt: int, chance: float) -> float:
    """Return the seconds to wait after attempt number `attempt` when the server named no wait."""
    return min(FIRST_WAIT_S * 2.0 ** min(attempt, 16), LONGEST_WAIT_S) * (1 - 0.25 * chance)


def _may_retry(error: RemotefsError) -> bool:
    match error:
        case AmbiguousOutcome():
            return False
        case TransportError():
            return True
        case RefusedError(should_retry=bool(named_s)):
            return named_s
        case SpendCapReached():
            return False
        case RefusedError(status=status):
            return status in _RETRIED_STATUSES or status >= 500
        case _:
            return False
