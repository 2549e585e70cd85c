"""Failing calls: a call of the disk or of the database fails somewhere in a life, and then all is well again.

    python -m tests.fuzz.calls                     lists the lives, and how many cases each has
    python -m tests.fuzz.calls 'CASE'              repeats a case, as a failing test prints it
    python -m tests.fuzz.calls LIFE [FROM [STEP]]  runs every STEPth case of a life

A life is lived once to record its calls. A case is a recorded call, what goes wrong with it, and for how long.
"""

from __future__ import annotations

import gc
import math
import os
import random
import secrets
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from remotefs.cli.exit_status import leaves_of
from remotefs.errors import RemotefsError
from tests.fuzz.calls_boundary import TROUBLES, WHOLE, Boundary, Call, Fault, Mode
from tests.fuzz.calls_lives import LIVES, Life, as_configured
from tests.fuzz.calls_user import User
from tests.fuzz.oracle import Ledger, Log, complaints, counted, destroyed, lost, recovered, watched
from tests.fuzz.world import World, run_world
from tests.parts import Host

T = TypeVar("T")

# The virtual time for which nothing happens while a call fails for good, and what the mount may do then.
_TROUBLED_S = 600.0
_MOST_FAILURES = 900
_MOST_STEPS = 15_000
# Of a whole life: more steps at a frozen time are a task that spins.
_MOST_STEPS_OF_ALL = 6_000
# Real seconds; a case takes half a one.
_PATIENCE_S = 40.0


@dataclass(frozen=True)
class Case:
    """A life, and what goes wrong in it; without a fault it is only recorded."""

    life: str
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.life}|{self.fault}"

    @classmethod
    def parse(cls, text: str) -> Case:
        """Return the case that `str` wrote."""
        life, _, fault = text.partition("|")
        return cls(life, Fault.parse(fault))


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    `complaints`, none when all is well; the calls that were made, how many of them failed, and what a user was refused.
    """

    complaints: list[str]
    recorded: list[Call]
    hits: int
    refused: list[str]


def run(case: Case) -> Outcome:
    """Live a life in which something goes wrong. One that never ends is a complaint."""
    outcome = guarded_run(lambda: run_world(_Run(case).live))
    return Outcome([outcome], [], 0, []) if isinstance(outcome, str) else outcome


def guarded_run(life: Callable[[], T], *, seed: int = 1) -> T | str:
    """Return what a life returns, or a complaint if it ends by an exception, or not at all.

    The service gives the same ids each time, by `seed`: they decide in which folder content lies.
    """
    # A loop without a step of a task is seen from outside alone.
    signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S, 1.0)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(secrets, "choice", random.Random(seed).choice)
            return life()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return "the world ended: " + "".join(traceback.format_exception(error))[-3000:]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


class _Hang(BaseException):
    """A case takes real time without an end."""


def _interrupt(*_: object) -> None:
    raise _Hang


class _Run:
    """One case."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._life: Life = LIVES[case.life]
        self._ledger = Ledger()
        self._found: list[str] = []
        self._refused: list[str] = []

    async def live(self, world: World) -> Outcome:
        """Prepare, let it happen, heal, and judge; then judge what the next mount makes of it."""
        state = "killed" if self._life.starts else "state"
        with watched() as log, Boundary(world.folder / state) as boundary:
            # The service's own process may say what it likes when its client goes away.
            log.addFilter(lambda record: not record.name.startswith("remotefs.server"))
            if self._life.starts:
                await self._prepare_a_start(world)
                with suppress(_NotMounted):
                    async with self._mounted(world, boundary, state, armed=True) as host:
                        await self._act(world, host, boundary, log)
            else:
                async with self._mounted(world, boundary, state) as host:
                    user = User(host, self._ledger)
                    await self._life.prepare(world, user)
                    boundary.arm(self._case.fault)
                    await self._act(world, host, boundary, log)
            recorded, hits = boundary.recorded, boundary.hits
            boundary.heal()
            if self._case.fault is not None:
                with suppress(_NotMounted):
                    async with self._mounted(world, boundary, state) as host:
                        await self._judge("the next mount", host, log)
        self._found += [f"broken: {text}" for text in log.unforeseen()]
        return Outcome(list(dict.fromkeys(self._found)), recorded, hits, self._refused)

    async def _prepare_a_start(self, world: World) -> None:
        async with world.mounted(change=as_configured, tasks=False) as host:
            await self._life.prepare(world, User(host, self._ledger))

    async def _act(self, world: World, host: Host, boundary: Boundary, log: Log) -> None:
        user = User(host, self._ledger)
        with self._telling("in the trouble"), counted(_MOST_STEPS_OF_ALL) as steps:
            await self._life.act(world, user)
        if steps.count > _MOST_STEPS_OF_ALL:
            self._found.append(f"spins: {steps.busiest()}")
        self._refused += user.failed
        fault = self._case.fault
        if fault is None:
            await host.settled()
            return
        if fault.mode is Mode.FOR_GOOD:
            await self._watch(boundary)
            return
        boundary.heal()
        if _is_lost(fault):
            # Of a sync that failed nobody can say whether a later one is true: the next mount makes up for that.
            with self._telling("healed, but for a sync"):
                self._found += [*destroyed(host, self._ledger), *await _misread(host, self._ledger)]
        else:
            await self._judge("the same mount", host, log)

    async def _watch(self, boundary: Boundary) -> None:
        """Let time pass in which everything fails."""
        before = boundary.hits
        with counted(_MOST_STEPS) as steps:
            await trio.sleep(_TROUBLED_S)
        if steps.count > _MOST_STEPS:
            self._found.append(f"spins in the trouble: {steps.count} steps: {steps.busiest()}")
        if boundary.hits - before > _MOST_FAILURES:
            self._found.append(f"spins in the trouble: {boundary.hits - before} failing calls in {_TROUBLED_S:g} s")

    async def _judge(self, where: str, host: Host, log: Log) -> None:
        with self._telling(where), counted(_MOST_STEPS_OF_ALL) as steps:
            await recovered(host)
            self._found += [f"{where}: {one}" for one in await complaints(host, self._ledger, log)]
        if steps.count > _MOST_STEPS_OF_ALL:
            self._found.append(f"{where}: spins: {steps.busiest()}")

    @contextmanager
    def _telling(self, where: str) -> Iterator[None]:
        """Take an error of the product, or of what it is held to, for a complaint."""
        try:
            yield
        except (AssertionError, RemotefsError, OSError) as error:
            self._found.append(f"{where}: {error!r}")
        except Exception as error:  # noqa: BLE001 - whatever a handler raised that no program expects
            self._found.append(f"{where}: nobody foresaw {error!r}")

    @asynccontextmanager
    async def _mounted(
        self, world: World, boundary: Boundary, state: str, *, armed: bool = False
    ) -> AsyncIterator[Host]:
        """A mount with all its tasks. What ends it is a complaint; one that does not start says why."""
        has_begun = False
        try:
            if armed:
                boundary.arm(self._case.fault)
            async with world.mounted(state=state, change=as_configured, tasks=False) as host:
                has_begun = True
                _keep_tasks(host)
                yield host
        except Exception as error:  # noqa: BLE001 - it is judged below
            leaves = list(leaves_of(error))
            is_refusal = all(isinstance(leaf, RemotefsError | OSError) for leaf in leaves)
            if has_begun or not armed or not is_refusal:
                self._found.append(f"the mount {'died' if has_begun else 'does not start'}: {leaves!r}")
        if not has_begun:
            # It was refused: the generator has to yield all the same.
            raise _NotMounted


class _NotMounted(Exception):
    """A mount did not start."""


def _keep_tasks(host: Host) -> None:
    """Start the tasks that a session keeps besides."""
    keep, parts, start = host.parts.supervisor.keep, host.parts, host.nursery.start_soon

    async def save_notes() -> None:
        while True:
            await trio.sleep(5.0)
            parts.tree.save_notes()

    start(keep, "keeping the log of the database short", parts.database.run_checkpoints)
    start(keep, "saving sizes and times", save_notes)
    start(keep, "copying the database", parts.copies.run)


async def _misread(host: Host, ledger: Ledger) -> list[str]:
    """Return what a mount that cannot bring all to the service shows wrongly."""
    return [one for one in await lost(host, ledger) if "is not sent" not in one and "the service" not in one]


def _is_lost(fault: Fault) -> bool:
    """Return whether syncs fail, which nothing makes good before the next mount."""
    return fault.call.kind == "sync" or (fault.trouble == "EIO" and fault.mode in {Mode.ALL, Mode.FOR_GOOD})


# -- the cases


def recorded(life: str) -> list[Call]:
    """Return the calls of a life in which nothing fails."""
    outcome = run(Case(life))
    assert outcome.complaints == [], outcome.complaints
    return outcome.recorded


def cases_of(life: str) -> list[Case]:
    """Return all cases of a life: each call by its chain, the first, one in the middle and the last of them.

    The whole disk begins to fail at every call whose chain is new.
    """
    places: dict[tuple[str, str], int] = {}
    for call in recorded(life):
        places[call.kind, call.chain] = call.nth
    cases: list[Case] = []
    for (kind, chain), last in places.items():
        for number in dict.fromkeys((1, math.ceil(last / 2), last)):
            call = Call(kind, chain, number)
            cases += [Case(life, Fault(call, trouble, Mode.ONCE)) for trouble in TROUBLES[kind]]
        first = Call(kind, chain, 1)
        cases += [Case(life, Fault(first, trouble, Mode.A_WHILE)) for trouble in TROUBLES[kind]]
        for trouble, (kinds, of_database) in WHOLE.items():
            if kind in kinds or kind in of_database:
                cases += [Case(life, Fault(first, trouble, mode)) for mode in (Mode.ALL, Mode.FOR_GOOD)]
    return cases


def resident_bytes() -> int:
    """Return how much memory this process takes now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(words: list[str]) -> int:
    """Obey the command line."""
    match words:
        case []:
            for life in LIVES:
                print(f"{life}: {len(cases_of(life))} cases")
            return 0
        case [text] if "|" in text:
            outcome = run(Case.parse(text))
            print(*outcome.complaints, f"{outcome.hits} calls failed", sep="\n")
            return int(bool(outcome.complaints))
        case [life, *numbers]:
            first, step = ([int(number) for number in numbers] + [0, 1])[:2] if numbers else (0, 1)
            modes = os.environ.get("FUZZ_MODES", " ".join(Mode)).split()
            chosen = [case for case in cases_of(life) if case.fault is not None and case.fault.mode in modes]
            return _run_all(chosen[first :: max(step, 1)])
    return 2


def _run_all(cases: list[Case]) -> int:
    began, wrong = time.monotonic(), 0
    for case in cases:
        outcome = run(case)
        if outcome.complaints:
            wrong += 1
            print(f"{case}\n    " + "\n    ".join(one[:1500] for one in outcome.complaints), flush=True)
    print(f"{wrong} of {len(cases)} cases; {time.monotonic() - began:.0f} s", flush=True)
    return int(bool(wrong))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONFAULTHANDLER", "1")
    sys.exit(main(sys.argv[1:]))

__all__ = ["Case", "Outcome", "cases_of", "guarded_run", "resident_bytes", "run"]
