"""The two checks before a request is handled: the key, and the limit of requests a minute. Pure."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime

# The part of a minute's requests that may come at once.
_BURST_FRACTION = 0.1


class Bucket:
    """A token bucket that fills with `per_minute` tokens a minute; a request takes one.

    `now` is in seconds since the epoch in all methods.
    """

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._capacity = max(1.0, per_minute * _BURST_FRACTION)
        # Invariant: 0 <= _tokens <= _capacity, as of `_at`.
        self._tokens = self._capacity
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token for a request and return whether there was one."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self, now: float) -> Mapping[str, str]:
        """Return the `anthropic-ratelimit-…` headers of a reply."""
        self._refill(now)
        full_at = now + (self._capacity - self._tokens) / self._rate
        return {
            "anthropic-ratelimit-requests-limit": str(self._per_minute),
            "anthropic-ratelimit-requests-remaining": str(int(self._tokens)),
            "anthropic-ratelimit-requests-reset": datetime.fromtimestamp(math.ceil(full_at), UTC).strftime(
                "%Y-%m-%dT%H:%M:%SZ"
            ),
        }

    def retry_after_s(self, now: float) -> int:
        """Return the whole seconds until there is a token again, at least 1."""
        self._refill(now)
        return max(1, math.ceil((1 - self._tokens) / self._rate))

    @property
    def _rate(self) -> float:
        return self._per_minute / 60

    def _refill(self, now: float) -> None:
        # If the clock was set back, nothing is refilled, and the bucket goes on from the new time.
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now


def is_authorized(key: str, x_api_key: str | None, authorization: str | None) -> bool:
    """Return whether `key` came as `x-api-key` or as `Authorization: Bearer`."""
    scheme, _, token = (authorization or "").partition(" ")
    # compare_digest takes the same time wherever the keys differ, so the time of a reply does not betray the key.
    offered = [x_api_key or "", token.strip() if scheme.lower() == "bearer" else ""]
    return any(hmac.compare_digest(each.encode(), key.encode()) for each in offered)
