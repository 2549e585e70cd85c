"""The request limit: pure, and as a client sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
from hypothesis import given
from hypothesis import strategies as st

from remotefs.server.limits import Bucket
from tests.faults import faulty_server


def test_over_the_limit_429_with_the_time_to_wait(tmp_path: Path) -> None:
    with faulty_server(tmp_path, requests_per_minute=30) as server:
        replies = [httpx.get(server.url + "/v1/files", headers=server.headers) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    refused = replies[-1]
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert [reply.headers["anthropic-ratelimit-requests-remaining"] for reply in replies] == ["2", "1", "0", "0"]
    assert refused.headers["anthropic-ratelimit-requests-limit"] == "30"
    reset = datetime.fromisoformat(refused.headers["anthropic-ratelimit-requests-reset"])
    assert (reset - datetime.now(UTC)).total_seconds() < 10


def test_a_wrong_key_uses_nothing_up(tmp_path: Path) -> None:
    with faulty_server(tmp_path, requests_per_minute=10) as server:
        wrong = [httpx.get(server.url + "/v1/files").status_code for _ in range(3)]
        right = httpx.get(server.url + "/v1/files", headers=server.headers).status_code
    assert (wrong, right) == ([401, 401, 401], 200)


def test_without_a_limit_there_are_no_rate_headers(tmp_path: Path) -> None:
    with faulty_server(tmp_path) as server:
        reply = httpx.get(server.url + "/v1/files", headers=server.headers)
    assert not [name for name in reply.headers if "ratelimit" in name]


@given(per_minute=st.integers(1, 2000), steps=st.lists(st.floats(0, 5), max_size=200))
def test_no_window_holds_more_than_the_limit_and_its_burst(per_minute: int, steps: list[float]) -> None:
    now = 1_700_000_000.0
    bucket = Bucket(per_minute, now)
    taken = 0
    start = now
    for step in steps:
        now += step
        taken += bucket.take(now)
        assert taken <= max(1, per_minute / 10) + (now - start) * per_minute / 60 + 1e-3


@given(per_minute=st.integers(1, 2000), late=st.floats(0, 100))
def test_after_the_time_to_wait_a_request_is_there(per_minute: int, late: float) -> None:
    now = 1_700_000_000.0
    bucket = Bucket(per_minute, now)
    while bucket.take(now):
        pass
    assert bucket.take(now + bucket.retry_after_s(now) + late)


def test_a_clock_that_is_set_back_gives_nothing(tmp_path: Path) -> None:
    bucket = Bucket(10, 1000.0)
    assert bucket.take(1000.0)
    assert not bucket.take(500.0)
    assert bucket.take(506.0)
