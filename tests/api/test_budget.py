"""The budget: pace, priorities, promotion, learning. Time is driven."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from remotefs.api.budget import Budget, Priority, Ticket, TokenBucket
from tests.api.support import settings

BURST_OF_60 = 6


async def drained(limit: float = 60) -> Budget:
    """A budget of one request a second whose burst is used up."""
    budget = Budget(limit)
    for _ in range(BURST_OF_60):
        await budget.acquire(Priority.POLL)
    return budget


@given(
    st.integers(1, 6000),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 20)), max_size=30),
)
def test_no_window_gives_more_than_the_burst_and_the_pace(limit: int, visits: list[tuple[float, int]]) -> None:
    bucket, now, taken = TokenBucket(limit, 0.0), 0.0, 0
    for passed, wanted in visits:
        now += passed
        taken += sum(bucket.take(now) for _ in range(wanted))
        assert taken <= max(1, limit / 10) + limit / 60 * now + 1e-6


@given(st.integers(1, 6000), st.integers(1, 50))
def test_the_told_wait_is_enough(limit: int, count: int) -> None:
    bucket = TokenBucket(limit, 0.0)
    while bucket.take(0.0):
        pass
    now = 0.0
    for _ in range(count):
        now += bucket.wait_s(now)
        assert bucket.take(now)


async def test_a_burst_is_free_and_then_the_pace_holds(autojump_clock: MockClock) -> None:
    budget = await drained()
    assert trio.current_time() == 0
    for _ in range(5):
        await budget.acquire(Priority.POLL)
    assert trio.current_time() == pytest.approx(5)
    assert budget.statistics().granted == BURST_OF_60 + 5


async def test_the_urgent_go_first_and_equals_in_the_order_of_coming(autojump_clock: MockClock) -> None:
    budget, served = await drained(), []

    async def ask(name: str, priority: Priority) -> None:
        await budget.acquire(priority)
        served.append(name)

    async with trio.open_nursery() as nursery:
        for name, priority in [
            ("prefetch", Priority.PREFETCH),
            ("poll", Priority.POLL),
            ("upload 1", Priority.QUEUED_UPLOAD),
            ("upload 2", Priority.QUEUED_UPLOAD),
            ("delete", Priority.DELETE),
            ("read", Priority.INTERACTIVE_READ),
            ("close", Priority.CLOSE_UPLOAD),
        ]:
            nursery.start_soon(ask, name, priority)
            await wait_all_tasks_blocked()
    assert served == ["read", "close", "upload 1", "upload 2", "delete", "poll", "prefetch"]


async def test_a_promoted_ticket_overtakes(autojump_clock: MockClock) -> None:
    budget, served = await drained(), []
    ticket = Ticket(Priority.QUEUED_UPLOAD)

    async def ask(name: str, whom: Priority | Ticket) -> None:
        await budget.acquire(whom)
        served.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, "listing", Priority.FIRST_LISTING)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, "upload", ticket)
        await wait_all_tasks_blocked()
        ticket.promote(Priority.CLOSE_UPLOAD)
    assert served == ["upload", "listing"]
    ticket.promote(Priority.PREFETCH)
    assert ticket.priority is Priority.CLOSE_UPLOAD


async def test_a_cancelled_wait_costs_nothing(autojump_clock: MockClock) -> None:
    budget = await drained()
    with trio.move_on_after(0.5):
        await budget.acquire(Priority.INTERACTIVE_READ)
    assert budget.statistics().waiting == {}
    await budget.acquire(Priority.POLL)
    assert trio.current_time() == pytest.approx(1)


async def test_a_token_granted_to_a_cancelled_waiter_is_the_next_ones_at_once(autojump_clock: MockClock) -> None:
    """Trio runs the two in either order, so both orders come up in twenty rounds."""

    async def cancelled(budget: Budget) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await budget.acquire(Priority.INTERACTIVE_READ)

    for _ in range(20):
        budget = await drained()
        await trio.sleep(1)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled, budget)
            nursery.start_soon(budget.acquire, Priority.POLL)
        assert trio.current_time() == started
        assert budget.statistics().granted == BURST_OF_60 + 1


async def test_the_eta_counts_who_is_ahead(autojump_clock: MockClock) -> None:
    budget = await drained()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(budget.acquire, Priority.QUEUED_UPLOAD)
        await wait_all_tasks_blocked()
        assert budget.eta_s(Priority.INTERACTIVE_READ) == pytest.approx(1)
        assert budget.eta_s(Priority.POLL) == pytest.approx(4)
        assert budget.statistics().waiting == {"queued_upload": 3}


async def test_without_a_limit_only_a_429_makes_wait(autojump_clock: MockClock) -> None:
    budget = Budget(None)
    for _ in range(1000):
        await budget.acquire(Priority.PREFETCH)
    assert (budget.limit_per_minute, trio.current_time(), budget.eta_s(Priority.POLL)) == (None, 0, 0)
    budget.on_rate_limited(7)
    assert budget.eta_s(Priority.INTERACTIVE_READ) == 7
    await budget.acquire(Priority.INTERACTIVE_READ)
    assert trio.current_time() == 7


async def test_a_429_pauses_everybody_and_no_burst_follows(autojump_clock: MockClock) -> None:
    budget = Budget(60)
    budget.on_rate_limited(30)
    assert budget.statistics().paused_s == 30
    await budget.acquire(Priority.INTERACTIVE_READ)
    assert trio.current_time() == 30
    await budget.acquire(Priority.INTERACTIVE_READ)
    assert trio.current_time() > 30.9


async def test_a_429_slows_down_once_and_the_pace_comes_back(autojump_clock: MockClock) -> None:
    budget = Budget(100)
    for _ in range(10):
        budget.on_rate_limited(None)
    assert budget.limit_per_minute == pytest.approx(80)
    await trio.sleep(600)
    assert budget.statistics().limit_per_minute == pytest.approx(100)


async def test_nobodys_word_stops_everything_for_ever(autojump_clock: MockClock) -> None:
    budget = Budget(None)
    budget.on_rate_limited(1e9)
    assert budget.eta_s(Priority.POLL) <= 600


async def test_the_servers_figures_win(autojump_clock: MockClock) -> None:
    budget = Budget(None)
    budget.on_reply({"anthropic-ratelimit-requests-limit": "50", "anthropic-ratelimit-requests-remaining": "0"})
    assert budget.limit_per_minute == 50
    assert budget.eta_s(Priority.POLL) == pytest.approx(1.2)


async def test_a_users_figure_is_a_ceiling(autojump_clock: MockClock) -> None:
    budget = Budget.for_service(settings(requests_per_minute=30))
    budget.on_reply({"anthropic-ratelimit-requests-limit": "4000"})
    assert budget.limit_per_minute == 30
    budget.on_reply({"anthropic-ratelimit-requests-limit": "20"})
    assert budget.limit_per_minute == 20


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"requests_per_minute": None, "shape": "ga"}, 500),
        ({"requests_per_minute": None, "shape": "auto"}, 500),
        ({"requests_per_minute": None, "shape": "beta"}, 100),
        ({"requests_per_minute": 0}, None),
        ({"requests_per_minute": 7}, 7),
    ],
)
async def test_the_start_is_by_the_settings(changes: dict[str, object], limit: float | None) -> None:
    assert Budget.for_service(settings(**changes)).limit_per_minute == limit


@given(st.text(max_size=30))
def test_odd_rate_headers_change_nothing_or_stay_sane(text: str) -> None:
    budget = Budget(60, clock=lambda: 0.0)
    budget.on_reply({"anthropic-ratelimit-requests-limit": text, "anthropic-ratelimit-requests-remaining": text})
    limit = budget.limit_per_minute
    assert limit is not None
    assert 1 <= limit <= 1_000_000
