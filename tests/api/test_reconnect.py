"""One question at a time for all who would like to know whether the service answers again (R7)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext

import pytest
import trio
import trio.testing

from remotefs.api.budget import Ticket
from remotefs.api.connectivity import MAX_RETRY_S, Connectivity
from remotefs.api.reconnect import Reconnect
from remotefs.data.download.patience import Patience
from remotefs.errors import AuthenticationFailed, DeadlineExceeded, OutOfSockets, OutOfSpace, Unreachable

Clock = trio.testing.MockClock
WAIT_S = 10.0


class Scene:
    """A link that is lost, and what its probe does."""

    def __init__(self, answer: Callable[[], Awaitable[object]]) -> None:
        self.connectivity = Connectivity()
        self.connectivity.up()
        self.asked_at: list[float] = []
        self.rung = 0
        # Seconds for which a question waits for its turn.
        self.held_s = 0.0
        self._answer = answer
        self.patience = Patience(WAIT_S, self.connectivity)
        self.probe = Reconnect(self.connectivity, lambda: self.patience.ask("the service", self._ask), self._wake)

    async def _ask(self, ticket: Ticket) -> None:
        self.asked_at.append(trio.current_time())
        with ticket.waiting() if self.held_s else nullcontext():
            await trio.sleep(self.held_s)
        await self._answer()

    def _wake(self) -> None:
        self.rung += 1

    def lose(self) -> None:
        self.connectivity.unheard(DeadlineExceeded("silent"), since=trio.current_time())


@asynccontextmanager
async def probing(answer: Callable[[], Awaitable[object]]) -> AsyncIterator[Scene]:
    scene = Scene(answer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scene.probe.run)
        yield scene
        nursery.cancel_scope.cancel()


async def test_it_asks_only_while_no_answer_comes(autojump_clock: Clock) -> None:
    async with probing(trio.lowlevel.checkpoint) as scene:
        await trio.sleep(1000)
        assert scene.asked_at == []
        scene.lose()
        lost_at = trio.current_time()
        await trio.sleep(1000)
        assert scene.asked_at == [lost_at]
        assert scene.connectivity.is_up
        assert scene.rung == 1, "who lists is told"


async def test_a_service_that_hangs_is_asked_again_and_again_but_once_at_a_time(autojump_clock: Clock) -> None:
    async with probing(trio.sleep_forever) as scene:
        scene.lose()
        await trio.sleep(400)
        pauses = [later - earlier - WAIT_S for earlier, later in itertools.pairwise(scene.asked_at)]
        assert pauses[:5] == [1, 2, 4, 8, 16]
        assert pauses[-1] == MAX_RETRY_S
        assert isinstance(scene.connectivity.lost, DeadlineExceeded)
        assert scene.rung == 0


async def test_it_tells_what_it_met_last(autojump_clock: Clock) -> None:
    async def refused() -> None:
        raise Unreachable("no connection")

    async with probing(refused) as scene:
        scene.lose()
        await trio.sleep(2)
        assert isinstance(scene.connectivity.lost, Unreachable)


async def test_a_refusal_of_the_account_is_for_others_to_ask_about(autojump_clock: Clock) -> None:
    async def denied() -> None:
        raise AuthenticationFailed("wrong key", status=401)

    async with probing(denied) as scene:
        scene.lose()
        await trio.sleep(1000)
        assert len(scene.asked_at) == 1
        assert scene.connectivity.lost is None
        assert not scene.connectivity.is_up
        assert scene.rung == 1


async def test_a_question_that_waits_for_its_turn_is_not_unanswered(autojump_clock: Clock) -> None:
    async with probing(trio.lowlevel.checkpoint) as scene:
        scene.held_s = 30
        scene.lose()
        await trio.sleep(31)
        assert len(scene.asked_at) == 1
        assert scene.connectivity.is_up


async def test_heard_by_another_way_it_does_not_ask(autojump_clock: Clock) -> None:
    async with probing(trio.sleep_forever) as scene:
        scene.lose()
        await trio.sleep(WAIT_S + 0.5)
        assert len(scene.asked_at) == 1, "it had no answer, and half a second later it is asked again"
        scene.connectivity.heard()
        await trio.sleep(1000)
        assert len(scene.asked_at) == 1


async def test_an_error_of_this_machine_is_no_reason_to_ask_without_a_pause(autojump_clock: Clock) -> None:
    async def no_room() -> None:
        raise OutOfSpace("the account cannot be recorded")

    async with probing(no_room) as scene:
        scene.lose()
        await trio.sleep(100)
        assert 4 <= len(scene.asked_at) <= 10


async def test_without_a_socket_it_has_not_asked_and_pauses(autojump_clock: Clock) -> None:
    async def answer() -> None:
        raise OutOfSockets("too many open files")

    async with probing(answer) as scene:
        scene.lose()
        await trio.sleep(400)
        assert scene.rung == 0
        assert scene.connectivity.lost is not None
        assert len(scene.asked_at) < 25


@pytest.mark.parametrize("before", [None, AuthenticationFailed("a wrong key", status=401)])
async def test_it_asks_also_where_the_connection_was_down_before(
    autojump_clock: Clock, before: AuthenticationFailed | None
) -> None:
    """The first request of a mount may wait a minute for its answer, and a refusal may be followed by silence."""
    connectivity, asked = Connectivity(), list[float]()
    if before is not None:
        connectivity.down(before)

    async def ask() -> None:
        asked.append(trio.current_time())
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Reconnect(connectivity, ask, lambda: None).run)
        await trio.sleep(60)
        connectivity.down(DeadlineExceeded("silent"))
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert connectivity.is_up
    assert len(asked) == 1
