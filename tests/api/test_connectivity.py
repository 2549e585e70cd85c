"""What requests tell about the way to the service (A2, S1)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from remotefs import errors
from remotefs.api.connectivity import MAX_RETRY_S, Connectivity


def refusal(kind: type[errors.RefusedError], status: int) -> errors.RefusedError:
    return kind("no", status=status)


async def answer() -> str:
    return "answer"


@pytest.fixture
def connectivity() -> Connectivity:
    """One over which an answer came."""
    connectivity = Connectivity()
    connectivity.up()
    return connectivity


def test_s1_before_the_first_answer_nothing_is_worth_sending() -> None:
    assert not Connectivity().is_up


def test_s1_a_refusal_is_an_answer_once_the_account_was_vouched_for() -> None:
    connectivity = Connectivity(vouched=False)
    for _ in range(3):
        connectivity.learn(refusal(errors.BadRequest, 400))
        assert not connectivity.is_up
    assert connectivity.retry_s == 4.0
    connectivity.vouch()
    connectivity.learn(refusal(errors.BadRequest, 400))
    assert (connectivity.is_up, connectivity.is_trusted) == (True, True)


@pytest.mark.parametrize(
    ("error", "is_up"),
    [
        (errors.Unreachable("x"), False),
        (errors.DeadlineExceeded("x"), False),
        (errors.ReplyBroken("x"), False),
        (errors.AmbiguousOutcome("x"), True),
        (refusal(errors.AuthenticationFailed, 401), False),
        (refusal(errors.BillingProblem, 402), False),
        (refusal(errors.PermissionRefused, 403), False),
        (refusal(errors.SpendCapReached, 429), False),
        (refusal(errors.RateLimited, 429), True),
        (refusal(errors.BadRequest, 400), True),
        (refusal(errors.TooLarge, 413), True),
        (refusal(errors.ServerFailure, 500), True),
        (errors.OutOfSpace("x"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_an_error_tells(connectivity: Connectivity, error: errors.RemotefsError, is_up: bool) -> None:
    async def failing() -> None:
        raise error

    with pytest.raises(type(error)):
        await connectivity.watch(failing)
    assert connectivity.is_up is is_up
    assert connectivity.statistics().reason == (None if is_up else str(error))


async def test_an_answer_means_up_again(connectivity: Connectivity) -> None:
    connectivity.down(errors.Unreachable("no route"))
    assert await connectivity.watch(answer) == "answer"
    assert (connectivity.is_up, connectivity.retry_s) == (True, 0.0)


def test_tries_grow_apart_up_to_a_limit(connectivity: Connectivity) -> None:
    waits = []
    for _ in range(10):
        connectivity.down(errors.Unreachable("no route"))
        waits.append(connectivity.retry_s)
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == MAX_RETRY_S


async def test_requests_that_were_under_way_together_count_as_one_try(connectivity: Connectivity) -> None:
    async def failing() -> None:
        await trio.sleep(0.01)
        raise errors.Unreachable("no route")

    async def request() -> None:
        with pytest.raises(errors.Unreachable):
            await connectivity.watch(failing)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(request)
    assert connectivity.retry_s == 1
    await request()
    assert connectivity.retry_s == 2


# -- out of reach (R7)


def at(now: float) -> Connectivity:
    """One over which an answer came, and that takes it to be `now`."""
    connectivity = Connectivity(clock=lambda: now)
    connectivity.up()
    return connectivity


@pytest.mark.parametrize("error", [errors.DeadlineExceeded("silent"), errors.Unreachable("refused")])
def test_r7_a_question_without_any_answer_is_out_of_reach(error: errors.DeadlineExceeded | errors.Unreachable) -> None:
    connectivity = at(100)
    connectivity.unheard(error, since=90)
    assert (connectivity.lost, connectivity.unanswered, connectivity.is_up) == (error, error, False)
    connectivity.heard()
    assert (connectivity.lost, connectivity.unanswered, connectivity.is_up) == (None, None, True)


def test_r7_where_anything_was_heard_meanwhile_it_is_that_question_alone() -> None:
    connectivity = at(100)
    connectivity.heard()
    connectivity.unheard(errors.DeadlineExceeded("silent"), since=90)
    assert connectivity.lost is None
    assert connectivity.is_up


def test_r7_readers_that_wait_in_vain_are_no_tries() -> None:
    connectivity = at(100)
    for _ in range(20):
        connectivity.unheard(errors.DeadlineExceeded("silent"), since=90)
    assert connectivity.retry_s == 0, "the first question is asked at once"
    connectivity.down(errors.DeadlineExceeded("silent"))
    assert connectivity.retry_s == 1


async def test_r7_an_upload_without_an_answer_does_not_keep_readers_from_trying(connectivity: Connectivity) -> None:
    async def failing() -> None:
        raise errors.Unreachable("broke before all was sent")

    with pytest.raises(errors.Unreachable):
        await connectivity.watch(failing)
    assert connectivity.lost is None
    assert connectivity.unanswered is not None
    connectivity.heard()
    assert not connectivity.is_up, "a download that goes on does not have it sent again at once"


def test_r7_a_refusal_is_an_answer() -> None:
    connectivity = at(100)
    connectivity.unheard(errors.DeadlineExceeded("silent"), since=90)
    connectivity.learn(refusal(errors.AuthenticationFailed, 401))
    assert connectivity.lost is None
    assert not connectivity.is_up


async def test_s1_suspended_stays_so_whatever_answers(connectivity: Connectivity) -> None:
    connectivity.suspend(errors.AccountError("another account answers"))
    await connectivity.watch(answer)
    assert not connectivity.is_up
    assert connectivity.statistics().suspended == "another account answers"


async def test_changes_are_told_once_each(connectivity: Connectivity, autojump_clock: trio.testing.MockClock) -> None:
    told = []

    async def listen() -> None:
        while True:
            await connectivity.changed()
            told.append(connectivity.is_up)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for change in (
            lambda: connectivity.down(errors.Unreachable("x")),
            lambda: connectivity.down(errors.Unreachable("y")),
            connectivity.up,
            connectivity.up,
            lambda: connectivity.suspend(errors.AccountError("z")),
        ):
            await trio.testing.wait_all_tasks_blocked()
            change()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == [False, True, False]


def test_a_service_that_is_out_of_reach_for_a_day_is_tried_on() -> None:
    connectivity = Connectivity()
    for _ in range(3000):
        connectivity.down(errors.Unreachable("no route"))
    assert connectivity.retry_s == MAX_RETRY_S
