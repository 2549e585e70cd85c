"""One seed for all that a process leaves to chance: the order of tasks, threads, random numbers, and time.

    with Chance(seed) as chance:
        trio.run(main, clock=chance.clock)

Within the block trio runs the tasks that can go on in an order of the seed, work for threads is done in the loop after
a while of the seed, ids and jitter come from the seed, and `time` tells the time of a clock that moves when no task can
go on. The collector of garbage rests, because its moment depends on addresses.
"""

from __future__ import annotations

import gc
import math
import random
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from typing import Any, Self, TypeVar

import anyio.to_thread
import pytest
import trio
import trio.testing
from trio._core import _run as trios

from tests.fuzz import service

T = TypeVar("T")

# When the world begins, in seconds since the epoch.
START_S = 1_800_000_000
_NS = 1_000_000_000
# How long work in a thread takes, in seconds, and how often that is nothing, a little, or long.
_DELAYS_S = ((0.0, 50), (0.001, 30), (0.02, 15), (0.4, 4), (3.0, 1))
# One look at the processor's clock is so much later than the one before, at most, in seconds.
_LOOK_S = 0.002


class Stalled(BaseException):
    """No task can go on, and none waits for a time: what would end the wait never comes."""


class Clock(service.Clock):
    """A clock of virtual time. `ahead_s` is what the wall clock shows too much; all in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead_s = 0.0

    @property
    def true_s(self) -> float:
        """Return the true time in seconds since the epoch."""
        return START_S + self.now_s

    @property
    def wall_s(self) -> float:
        """Return what the machine's wall clock shows, in seconds since the epoch."""
        return self.true_s + self.ahead_s

    def wall_ns(self) -> int:
        """Return the same in ns."""
        return int(self.wall_s * _NS)

    async def run(self) -> None:
        """Jump to the next deadline whenever no task can go on. Raises Stalled where there is none."""
        while True:
            await trio.testing.wait_all_tasks_blocked()
            ahead_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
            if ahead_s == math.inf:
                raise Stalled
            self.now_s = math.nextafter(self.now_s + max(ahead_s, 0.0), math.inf)


class Chance:
    """The sources of chance of one life; each has a generator of its own, so that one more draw moves no other."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.clock = Clock()
        self.threads = self.source("threads")
        self._looks = self.source("looks")
        # Called when work of a thread begins (True) and when it is done (False), with the function.
        self.at_work: Callable[[Callable[..., Any], bool], None] = lambda call, begins: None
        self._undo = ExitStack()

    def source(self, name: str) -> random.Random:
        """Return a generator that the seed and a name determine."""
        return random.Random(f"{self._seed}/{name}")

    def __enter__(self) -> Self:
        patch = self._undo.enter_context(pytest.MonkeyPatch.context())
        self._undo.callback(gc.enable)
        gc.collect()
        gc.disable()
        # Trio sorts what it is about to run, and mixes it by this generator.
        patch.setattr(trios, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr(trios, "_r", self.source("tasks"))
        patch.setattr(trio.to_thread, "run_sync", self._in_thread)
        patch.setattr(anyio.to_thread, "run_sync", self._in_thread)
        patch.setattr(trio.from_thread, "run_sync", lambda call, *args: call(*args))
        self._draw_numbers(patch)
        self._tell_time(patch)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _draw_numbers(self, patch: pytest.MonkeyPatch) -> None:
        ids, jitter = self.source("ids"), self.source("jitter")
        patch.setattr(secrets, "choice", ids.choice)
        patch.setattr(secrets, "token_hex", lambda count=32: ids.randbytes(count).hex())
        patch.setattr(random, "SystemRandom", lambda: jitter)

    def _tell_time(self, patch: pytest.MonkeyPatch) -> None:
        clock = self.clock
        patch.setattr(time, "time", lambda: clock.wall_s)
        patch.setattr(time, "time_ns", clock.wall_ns)
        patch.setattr(time, "monotonic", lambda: clock.now_s)
        patch.setattr(time, "clock_gettime_ns", lambda _: int(clock.now_s * _NS))
        passed_s = 0.0

        def look() -> float:
            nonlocal passed_s
            passed_s += self._looks.random() * _LOOK_S
            return clock.now_s + passed_s

        patch.setattr(time, "perf_counter", look)

    async def _in_thread(self, call: Callable[..., T], *args: Any, abandon_on_cancel: bool = False, **_: Any) -> T:
        """Stand for `trio.to_thread.run_sync`: the work is done in one piece, some time after the call."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            with trio.CancelScope(shield=not abandon_on_cancel):
                await self._pass_time()
        except trio.Cancelled:
            # A thread that is abandoned does its work all the same.
            call(*args)
            raise
        self.at_work(call, True)
        try:
            result = call(*args)
        finally:
            self.at_work(call, False)
        with trio.CancelScope(shield=True):
            await self._pass_time()
        return result

    async def _pass_time(self) -> None:
        [delay_s] = self.threads.choices([s for s, _ in _DELAYS_S], [often for _, often in _DELAYS_S])
        await trio.sleep(delay_s * self.threads.random())


def run(main: Callable[..., Coroutine[Any, Any, T]], chance: Chance, *args: Any) -> T:
    """Run a function of the world to its end, in virtual time. Raises Stalled."""

    async def beside_clock() -> T:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chance.clock.run)
            result = await main(*args)
            nursery.cancel_scope.cancel()
        return result

    try:
        return trio.run(beside_clock, clock=chance.clock)
    except BaseExceptionGroup as group:
        if group.subgroup(Stalled) is not None:
            raise Stalled from group
        raise
