"""What waits, and for how long: back-off, and tasks that are begun again."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from remotefs.backoff import backoff_s
from remotefs.errors import OutOfSpace
from remotefs.supervision import Supervisor


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0.5), (1, 1.0), (3, 4.0), (7, 60.0), (2_000, 60.0), (10**9, 60.0)]
)
def test_back_off_doubles_up_to_its_bound_and_bears_any_number_of_failures(failures: int, seconds: float) -> None:
    """A service that is out of reach for days is more failures than a float has powers of two."""
    assert backoff_s(0.5, 60.0, failures) == seconds


@pytest.fixture
def clock() -> trio.abc.Clock:
    return trio.testing.MockClock(autojump_threshold=0)


class Unsteady:
    """A task that fails so many times, then returns."""

    def __init__(self, failures: int, error: Exception, runs_s: float = 0.0) -> None:
        self.began: list[float] = []
        self._failures = failures
        self._error = error
        self._runs_s = runs_s

    async def __call__(self) -> None:
        self.began.append(trio.current_time())
        await trio.sleep(self._runs_s)
        if len(self.began) <= self._failures:
            raise self._error


async def test_a_task_that_fails_is_begun_again_ever_later_and_counted(clock: trio.abc.Clock) -> None:
    supervisor, task = Supervisor(), Unsteady(9, OutOfSpace("the disk is full"))
    await supervisor.keep("listing", task)
    pauses = [later - earlier for earlier, later in zip(task.began, task.began[1:], strict=False)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    (failure,) = supervisor.failures()
    assert (failure.task, failure.count, failure.reason) == ("listing", 9, "the disk is full")


async def test_a_task_that_was_well_for_a_while_is_begun_again_soon(clock: trio.abc.Clock) -> None:
    task = Unsteady(8, OutOfSpace("full"), runs_s=100.0)
    await Supervisor().keep("listing", task)
    assert task.began[-1] - task.began[-2] == 100.5


async def test_a_mistake_is_logged_with_its_traceback_and_a_full_disk_without(
    clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Supervisor()
    assert await supervisor.guard("well", Unsteady(0, ValueError()))
    assert not await supervisor.guard("ill", Unsteady(1, OutOfSpace("full")))
    assert not await supervisor.guard("wrong", Unsteady(1, ExceptionGroup("several", [ValueError("odd")])))
    told = {record.getMessage().split(" failed")[0]: bool(record.exc_info) for record in caplog.records}
    assert told == {"ill": False, "wrong": True}
    assert [failure.task for failure in supervisor.failures()] == ["wrong", "ill"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


async def test_a_cancelled_task_is_no_failure_and_ends(clock: trio.abc.Clock) -> None:
    supervisor = Supervisor()
    with trio.move_on_after(5.0) as scope:
        await supervisor.keep("waiting", trio.sleep_forever)
    assert scope.cancelled_caught
    assert supervisor.failures() == ()
