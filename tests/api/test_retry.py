"""The retry decision, and what replies say about it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remotefs.api.retry import (
    LONGEST_WAIT_S,
    MAX_ANNOUNCED_RETRIES,
    MAX_RETRIES,
    GiveUp,
    Hints,
    Retry,
    backoff_s,
    decide,
    read_hints,
)
from remotefs.errors import (
    AmbiguousOutcome,
    BadRequest,
    InvalidArgument,
    RateLimited,
    RefusedError,
    RemotefsError,
    ReplyBroken,
    ServerFailure,
    SpendCapReached,
    Unreachable,
)

statuses = st.integers(300, 599)
waits = st.none() | st.floats(0, 1e6)
refusals = st.builds(
    lambda status, after, told: RefusedError("no", status=status, retry_after_s=after, should_retry=told),
    statuses,
    waits,
    st.none() | st.booleans(),
)
failures = refusals | st.sampled_from([Unreachable("x"), ReplyBroken("x"), AmbiguousOutcome("x"), InvalidArgument("x")])


def verdict(
    attempt: int, error: RemotefsError, *, elapsed_s: float = 0, deadline_s: float | None = 60
) -> Retry | GiveUp:
    return decide(attempt, error, elapsed_s=elapsed_s, deadline_s=deadline_s, chance=0.0)


@given(failures, st.integers(0, 20), st.floats(0, 100), st.none() | st.floats(0, 100), st.floats(0, 1))
def test_a_retry_always_ends_before_the_deadline(
    error: RemotefsError, attempt: int, elapsed_s: float, deadline_s: float | None, chance: float
) -> None:
    answer = decide(attempt, error, elapsed_s=elapsed_s, deadline_s=deadline_s, chance=chance)
    if isinstance(answer, Retry):
        assert answer.after_s >= 0
        assert deadline_s is None or elapsed_s + answer.after_s < deadline_s
        assert attempt < MAX_ANNOUNCED_RETRIES


@given(failures, st.integers(MAX_ANNOUNCED_RETRIES, 1000))
def test_nothing_is_tried_for_ever(error: RemotefsError, attempt: int) -> None:
    assert verdict(attempt, error) == GiveUp()


@given(statuses, waits)
def test_the_servers_word_overrides_the_status(status: int, after: float | None) -> None:
    no = RefusedError("no", status=status, retry_after_s=after, should_retry=False)
    yes = RefusedError("no", status=status, should_retry=True)
    assert verdict(0, no) == GiveUp()
    assert verdict(0, yes) == Retry(0.5)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_the_sdks_send_again_is_sent_again_twice(status: int) -> None:
    error = RefusedError("no", status=status)
    assert [verdict(n, error) for n in range(MAX_RETRIES + 1)] == [Retry(0.5), Retry(1.0), GiveUp()]


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 413, 416])
def test_a_refusal_stands(status: int) -> None:
    assert verdict(0, RefusedError("no", status=status)) == GiveUp()


def test_an_ambiguous_outcome_and_a_spend_cap_are_never_repeated() -> None:
    assert verdict(0, AmbiguousOutcome("lost")) == GiveUp()
    assert verdict(0, SpendCapReached("cap", status=429)) == GiveUp()


def test_a_told_wait_is_kept_and_believed_more_often() -> None:
    error = RateLimited("slow", status=429, retry_after_s=7.5)
    assert verdict(5, error) == Retry(7.5)
    assert verdict(0, error, elapsed_s=53) == GiveUp()
    assert verdict(0, RateLimited("slow", status=429, retry_after_s=61), deadline_s=None) == GiveUp()


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_waits_are_spread_within_a_quarter_and_bounded(attempt: int, chance: float) -> None:
    full = backoff_s(attempt, 0)
    assert 0.75 * full <= backoff_s(attempt, chance) <= full <= LONGEST_WAIT_S


def test_other_errors_are_not_ours_to_repeat() -> None:
    assert verdict(0, InvalidArgument("x")) == GiveUp()
    assert verdict(0, BadRequest("x", status=400)) == GiveUp()
    assert verdict(0, ServerFailure("x", status=500)) == Retry(0.5)


def test_hints_are_read_in_all_their_forms() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    date = format_datetime(datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC), usegmt=True)
    assert read_hints({"retry-after-ms": "1500", "retry-after": "9"}, now.timestamp()).after_s == 1.5
    assert read_hints({"retry-after": "2.5"}, now.timestamp()).after_s == 2.5
    assert read_hints({"retry-after": date}, now.timestamp()).after_s == 30
    assert read_hints({"retry-after": date}, now.timestamp() + 100).after_s == 0
    assert read_hints({"x-should-retry": "TRUE"}, 0) == Hints(None, should_retry=True)
    assert read_hints({"x-should-retry": "false"}, 0) == Hints(None, should_retry=False)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "x-should-retry"]), st.text(max_size=60)))
def test_odd_hints_say_nothing_or_a_finite_time(headers: dict[str, str]) -> None:
    after_s = read_hints(headers, 1.7e9).after_s
    assert after_s is None or 0 <= after_s < float("inf")
