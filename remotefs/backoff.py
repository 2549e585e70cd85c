"""How long to wait before the next try: twice as long after each failure, up to a bound. Pure."""

from __future__ import annotations

# Two to this power exceeds every bound that is used, and no float: what fails for days is counted on.
_MOST_DOUBLINGS = 64


def backoff_s(first_s: float, longest_s: float, failures: int) -> float:
    """Return the seconds to wait after `failures` failures before this one: `first_s` doubled as often."""
    return min(first_s * 2.0 ** min(failures, _MOST_DOUBLINGS), longest_s)
