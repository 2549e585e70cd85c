"""What requests tell about the way to the service (A2, S1)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from remotefs import errors
from remotefs.data.link import MAX_RETRY_S, Link


def refusal(kind: type[errors.RefusedError], status: int) -> errors.RefusedError:
    return kind("no", status=status)


async def answer() -> str:
    return "answer"


@pytest.fixture
def link() -> Link:
    """One over which an answer came."""
    link = Link()
    link.up()
    return link


def test_s1_before_the_first_answer_nothing_is_worth_sending() -> None:
    assert not Link().is_up


def test_s1_a_refusal_is_an_answer_once_the_account_was_vouched_for() -> None:
    link = Link(vouched=False)
    for _ in range(3):
        link.learn(refusal(errors.BadRequest, 400))
        assert not link.is_up
    assert link.retry_s == 4.0
    link.vouch()
    link.learn(refusal(errors.BadRequest, 400))
    assert (link.is_up, link.is_trusted) == (True, True)


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
async def test_what_an_error_tells(link: Link, error: errors.RemotefsError, is_up: bool) -> None:
    async def failing() -> None:
        raise error

    with pytest.raises(type(error)):
        await link.watch(failing)
    assert link.is_up is is_up
    assert link.statistics().reason == (None if is_up else str(error))


async def test_an_answer_means_up_again(link: Link) -> None:
    link.down(errors.Unreachable("no route"))
    assert await link.watch(answer) == "answer"
    assert (link.is_up, link.retry_s) == (True, 0.0)


def test_tries_grow_apart_up_to_a_limit(link: Link) -> None:
    waits = []
    for _ in range(10):
        link.down(errors.Unreachable("no route"))
        waits.append(link.retry_s)
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == MAX_RETRY_S


async def test_s1_suspended_stays_so_whatever_answers(link: Link) -> None:
    link.suspend(errors.AccountError("another account answers"))
    await link.watch(answer)
    assert not link.is_up
    assert link.statistics().suspended == "another account answers"


async def test_changes_are_told_once_each(link: Link, autojump_clock: trio.testing.MockClock) -> None:
    told = []

    async def listen() -> None:
        while True:
            await link.changed()
            told.append(link.is_up)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        for change in (
            lambda: link.down(errors.Unreachable("x")),
            lambda: link.down(errors.Unreachable("y")),
            link.up,
            link.up,
            lambda: link.suspend(errors.AccountError("z")),
        ):
            await trio.testing.wait_all_tasks_blocked()
            change()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == [False, True, False]


def test_a_service_that_is_out_of_reach_for_a_day_is_tried_on() -> None:
    link = Link()
    for _ in range(3000):
        link.down(errors.Unreachable("no route"))
    assert link.retry_s == MAX_RETRY_S
