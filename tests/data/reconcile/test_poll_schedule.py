"""When the service is listed: by use, by the share of the limit (A4), and after the machine was suspended."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from remotefs.config import RefreshConfig
from remotefs.data.reconcile.poll_schedule import PollSchedule

CONFIG = RefreshConfig()


@dataclass
class Machine:
    """Its clocks, its limit, and the size of its account; the steady clock goes with trio's, `ahead_s` of it."""

    limit_per_minute: float | None = None
    files: int = 0
    ahead_s: float = 0.0

    def steady(self) -> int:
        return int((trio.current_time() + self.ahead_s + 1e9) * 1e9)

    def poll_schedule(self) -> PollSchedule:
        return PollSchedule(self, CONFIG, self.steady, lambda: self.files)


def spend(poll_schedule: PollSchedule, requests: int) -> None:
    """A round of so many requests."""
    for _ in range(requests):
        poll_schedule.note_request()
    poll_schedule.begin_pause()


async def test_seconds_in_use_minutes_when_idle(mock_clock: trio.testing.MockClock) -> None:
    poll_schedule = Machine().poll_schedule()
    assert poll_schedule.interval_s() == CONFIG.poll_in_use_s
    mock_clock.jump(CONFIG.idle_after_s)
    assert poll_schedule.interval_s() == CONFIG.poll_in_use_s
    mock_clock.jump(1.0)
    assert poll_schedule.interval_s() == CONFIG.poll_idle_s
    assert poll_schedule.note_use()
    assert not poll_schedule.note_use()
    assert poll_schedule.interval_s() == CONFIG.poll_in_use_s


async def test_a_suspend_is_told_by_the_wall_clock(mock_clock: trio.testing.MockClock) -> None:
    machine = Machine()
    poll_schedule = machine.poll_schedule()
    mock_clock.jump(1000.0)
    assert not poll_schedule.was_suspended
    machine.ahead_s = 3600.0
    assert poll_schedule.was_suspended
    poll_schedule.begin_pause()
    assert not poll_schedule.was_suspended


@pytest.mark.parametrize("step_s", [-3600.0, 5.0])
async def test_a_clock_that_is_set_right_is_no_suspend(mock_clock: trio.testing.MockClock, step_s: float) -> None:
    machine = Machine()
    poll_schedule = machine.poll_schedule()
    machine.ahead_s = step_s
    mock_clock.jump(10.0)
    assert not poll_schedule.was_suspended


@given(
    limit=st.floats(1.0, 100_000.0),
    files=st.integers(0, 10_000_000),
    spent=st.integers(0, 500),
)
def test_a4_polls_and_walks_together_stay_within_their_share(limit: float, files: int, spent: int) -> None:
    async def per_minute() -> float:
        poll_schedule = Machine(limit, files).poll_schedule()
        spend(poll_schedule, spent)
        walks = (files // 1000 + 1) * 60 / poll_schedule.walk_interval_s()
        return walks + spent * 60 / poll_schedule.interval_s()

    share = trio.run(per_minute, clock=trio.testing.MockClock())
    assert share <= CONFIG.budget_fraction * limit * (1 + 1e-9)


async def test_without_a_limit_only_the_settings_count(mock_clock: trio.testing.MockClock) -> None:
    poll_schedule = Machine(None, 10_000_000).poll_schedule()
    spend(poll_schedule, 500)
    assert (poll_schedule.interval_s(), poll_schedule.walk_interval_s()) == (CONFIG.poll_in_use_s, CONFIG.walk_every_s)
