"""Who may ask, and how often: the key and the request limit. Pure but for the clock it is given."""

from __future__ import annotations

import hmac
import math
from collections.abc import Mapping
from datetime import UTC, datetime

# A burst may use a tenth of a minute's requests at once.
_BURST_FRACTION = 0.1


class Bucket:
    """A token bucket of `per_minute` requests; `now` is always in seconds since the epoch."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._per_minute = per_minute
        self._capacity = max(1.0, per_minute * _BURST_FRACTION)
        # Invariant: 0 <= _tokens <= _capacity, as of `_at`.
        self._tokens = self._capacity
        self._at = now

    def take(self, now: float) -> bool:
        """Use one request; False when there is none."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def headers(self, now: float) -> Mapping[str, str]:
        """The rate headers of a reply."""
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
        """Whole seconds until a request is there again, at least one."""
        self._refill(now)
        return max(1, math.ceil((1 - self._tokens) / self._rate))

    @property
    def _rate(self) -> float:
        return self._per_minute / 60

    def _refill(self, now: float) -> None:
        # A clock that was set back refills nothing.
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._rate)
        self._at = now


def is_authorized(key: str, x_api_key: str | None, authorization: str | None) -> bool:
    """The key came as `x-api-key` or as `Authorization: Bearer`."""
    scheme, _, token = (authorization or "").partition(" ")
    offered = [x_api_key or "", token.strip() if scheme.lower() == "bearer" else ""]
    return any(hmac.compare_digest(each.encode(), key.encode()) for each in offered)
