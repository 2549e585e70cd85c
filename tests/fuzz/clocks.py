"""The cases of wrong clocks by their numbers: which clock goes wrong, when, and the judgement of what comes of it.

    python -m tests.fuzz.clocks 123            one case, told in words
    python -m tests.fuzz.clocks 0 1000 2       every second case from 0 on; prints the failures

There are four clocks: the wall clock of the machine, its CLOCK_BOOTTIME, the `Date` of replies, and the service's own
by which files are dated and expire. The true time is trio's, plus suspensions. Whatever the clocks show: a pending
change goes out in its time, no file vanishes that has not truly expired, and the trash keeps its 30 days.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache

import trio

from remotefs.clocks import Machine
from tests.faults import Reply
from tests.fuzz.oracle import Ledger, Log, complaints, recovered, watched
from tests.fuzz.outcome import Outcome, lived_through
from tests.fuzz.replies_life import STEPS, Scene, furnish, prepare
from tests.fuzz.world import START_S, World, trust_little
from tests.parts import Host

CASES = 1_000
MOST_STEPS = 400_000
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
# How far a clock jumps, in seconds. The last ones end in 1970, after 2038, and near 2232: Linux sets no later time.
JUMPS = (
    1.0, -1.0, 30.0, -30.0, 10 * MINUTE, -10 * MINUTE, HOUR, -HOUR, 5 * HOUR, -5 * HOUR, DAY, -DAY, 40 * DAY, -40 * DAY,
    400 * DAY, -400 * DAY, -float(START_S), 400_000_000.0, 6_400_000_000.0,
)  # fmt: skip
SLEEPS = (30.0, 10 * MINUTE, 5 * HOUR, 3 * DAY, 29 * DAY)
# A change that waits for nothing but its time, and one that failed, go out within this time by every clock's leave.
MOST_WAIT_S = 400.0
MANY = 25
EXPIRES_AFTER_S = 2 * HOUR
TRASH_DAYS = 30


@dataclass(frozen=True)
class Event:
    """A clock goes wrong, or the machine sleeps or starts again."""

    what: str
    # Which jump or duration, in seconds.
    amount_s: float
    act: Callable[[Life, float], Awaitable[None]]

    def __str__(self) -> str:
        return f"{self.what} {self.amount_s:+,.0f} s"


@dataclass
class Life:
    """What an event works with."""

    world: World
    scene: Scene
    date_ahead_s: float = 0.0
    boot: int = 1
    booted_s: float = 0.0
    is_restarted: bool = False
    # How far the clocks of the machine and of the service had come ahead of their lowest values when a mount began, as
    # far as both agreed: that looks as if the time had passed in between.
    agreed_s: float = 0.0
    lowest_wall_s: float = 0.0
    lowest_service_s: float = 0.0

    def machine(self) -> Machine:
        """Return the clocks of this run of the machine."""
        return self.world.machine(f"run {self.boot}", self.booted_s)


EVENTS: dict[str, Callable[[Life, float], Awaitable[None]]] = {}


def event(act: Callable[[Life, float], Awaitable[None]]) -> Callable[[Life, float], Awaitable[None]]:
    """Note an event under its name."""
    EVENTS[act.__name__.strip("_").replace("_", " ")] = act
    return act


@event
async def _the_wall_clock_is_set(life: Life, amount_s: float) -> None:
    life.world.wall_ahead_s += amount_s


@event
async def _the_wall_clock_is_wrong_for_a_while(life: Life, amount_s: float) -> None:
    life.world.wall_ahead_s += amount_s
    await trio.sleep(20 * MINUTE)
    life.world.wall_ahead_s -= amount_s


@event
async def _the_date_of_replies_is_wrong(life: Life, amount_s: float) -> None:
    life.date_ahead_s += amount_s


@event
async def _the_date_of_replies_is_wrong_for_a_while(life: Life, amount_s: float) -> None:
    life.date_ahead_s += amount_s
    await trio.sleep(5 * MINUTE)
    life.date_ahead_s -= amount_s


@event
async def _the_service_clock_is_set(life: Life, amount_s: float) -> None:
    life.world.service_ahead_s += amount_s


@event
async def _the_service_clock_is_wrong_for_an_hour(life: Life, amount_s: float) -> None:
    life.world.service_ahead_s += amount_s
    await trio.sleep(HOUR)
    life.world.service_ahead_s -= amount_s


@event
async def _both_clocks_jump(life: Life, amount_s: float) -> None:
    life.world.wall_ahead_s += amount_s
    life.world.service_ahead_s += amount_s


@event
async def _the_machine_sleeps(life: Life, amount_s: float) -> None:
    life.world.suspended_s += abs(amount_s)


@event
async def _the_machine_sleeps_and_the_wall_clock_does_not_know(life: Life, amount_s: float) -> None:
    life.world.suspended_s += abs(amount_s)
    life.world.wall_ahead_s -= abs(amount_s)


@event
async def _the_mount_is_gone_for_a_while(life: Life, amount_s: float) -> None:
    life.is_restarted = True
    life.world.suspended_s += abs(amount_s)


@event
async def _the_machine_starts_again_with_a_wrong_clock(life: Life, amount_s: float) -> None:
    life.is_restarted = True
    life.boot += 1
    life.booted_s = life.world.clock.now_s + life.world.suspended_s
    life.world.wall_ahead_s += amount_s


@event
async def _replies_have_no_date(life: Life, amount_s: float) -> None:
    before = life.world.server.script.date
    life.world.server.script.date = lambda: None
    await trio.sleep(min(abs(amount_s), 5 * HOUR))
    life.world.server.script.date = before


@dataclass(frozen=True)
class Case:
    """One life in which clocks go wrong."""

    number: int
    # The events, each after that many steps.
    events: tuple[tuple[int, Event], ...]
    # All clocks are right again at the end; otherwise only the service's.
    all_right: bool
    # The first listing is read with the clocks as the first event left them.
    from_the_start: bool

    def __str__(self) -> str:
        told = [f"after {at} steps {event}" for at, event in self.events]
        told += ["from the start"] if self.from_the_start else []
        told += ["all clocks are put right"] if self.all_right else []
        return f"case {self.number}: " + "; ".join(told)


@cache
def systematic() -> tuple[Event, ...]:
    """Return each event with each amount."""
    return tuple(
        Event(what, amount_s, act)
        for what, act in EVENTS.items()
        for amount_s in (SLEEPS if "sleep" in what or "gone" in what or "no date" in what else JUMPS)
    )


def case_of(number: int) -> Case:
    """Return the case of a number."""
    chance, known = random.Random(number), systematic()
    if number < 3 * len(known):
        events = [known[number % len(known)]]
    else:
        events = [chance.choice(known) for _ in range(chance.randint(2, 4))]
    moments = sorted(chance.randint(0, 7) for _ in events)
    return Case(
        number, tuple(zip(moments, events, strict=True)), all_right=chance.random() < 0.5,
        from_the_start=chance.random() < 0.2,
    )  # fmt: skip


def outcome_of(case: Case) -> Outcome[Case]:
    """Live through a case and judge it."""
    return lived_through(case, _live, most_steps=MOST_STEPS)


@contextmanager
def _walls(world: World) -> Iterator[None]:
    """Show the world's wall clock to the modules that ask the machine's for a stamp."""
    real_ns, real = time.time_ns, time.time
    time.time_ns = lambda: int(world.wall_s * 1_000_000_000)
    time.time = lambda: world.wall_s
    try:
        yield
    finally:
        time.time_ns, time.time = real_ns, real


async def _live(world: World, outcome: Outcome[Case]) -> None:
    with _walls(world):
        await _live_by_the_walls(world, outcome)


async def _live_by_the_walls(world: World, outcome: Outcome[Case]) -> None:
    case, ledger, chance = outcome.case, Ledger(), random.Random(outcome.case.number)
    furnish(world, ledger)
    for number in range(MANY):
        _expiring(world, ledger, f"many-{number}", 30 * DAY)
    _expiring(world, ledger, "soon.txt", EXPIRES_AFTER_S)
    life = Life(world, Scene(world, None, ledger, chance))
    world.server.script.date = lambda: _http_date(world.service_s + life.date_ahead_s)
    events = list(case.events)
    steps = chance.sample(STEPS, 8)
    with watched() as log:
        if case.from_the_start:
            await events[0][1].act(life, events[0][1].amount_s)
            events.pop(0)
        is_prepared = False
        at = 0
        while at < len(steps) or events:
            life.is_restarted = False
            async with _mount(life) as host:
                if not is_prepared:
                    await prepare(life.scene)
                    await _trash_something(life)
                    is_prepared = True
                while (at < len(steps) or events) and not life.is_restarted:
                    if events and events[0][0] <= at:
                        _, due = events.pop(0)
                        await _while_pending(life, due)
                        continue
                    await steps[at](life.scene)
                    at += 1
                outcome.found += await _late(host)
        await _at_the_end(life, outcome, log)


async def _at_the_end(life: Life, outcome: Outcome[Case], log: Log) -> None:
    world, ledger = life.world, life.scene.ledger
    world.service_ahead_s = life.date_ahead_s = 0.0
    if outcome.case.all_right:
        world.wall_ahead_s = 0.0
    outcome.found += life.scene.notes
    async with _mount(life) as host:
        # A clock of the service that was set is believed after ten minutes.
        await trio.sleep(25 * MINUTE)
        outcome.found += await _late(host)
        expired = {r.id for r in host.stored() if r.expires_us is not None and r.expires_us / 1e6 <= world.service_s}
        for file_id in expired:
            ledger.others_deleted(file_id)
        try:
            await recovered(host)
        except AssertionError as error:
            outcome.found.append(f"never settled: {str(error)[:600]}")
        # The service's clock, which was wrong, may have told that files are gone; their bytes are in the trash then.
        outcome.found += await complaints(host, ledger, log, anywhere=True)
        outcome.found += [f"expired: {name} is shown" for name in host.ls() if host.stat(name).file_id in expired]
        outcome.found += _wrongly_emptied(life, host)


async def _while_pending(life: Life, due: Event) -> None:
    """Let an event happen while a failed upload, an upload and a DELETE wait for their time."""
    script = life.world.server.script
    rule = script.add(Reply(500), op="upload", times=2)
    await life.scene.write("waits.txt", b"waits for its time")
    await life.scene.write("waits too.txt", b"waits too")
    await life.scene.unlink("waits too.txt")
    script.remove(rule)
    await due.act(life, due.amount_s)


async def _late(host: Host) -> list[str]:
    """Wait for what is pending, as long as it may take; what is still pending then is late."""
    waited_s = 0.0
    while (pending := host.pending()) and waited_s < MOST_WAIT_S:
        await trio.sleep(5.0)
        waited_s += 5.0
    late = [f"{intent.kind} due in {(intent.due_ns - host.parts.clock()) / 1e9:,.0f} s" for intent in pending]
    return [f"late: after {MOST_WAIT_S:.0f} s these wait: {late}"] if late else []


async def _trash_something(life: Life) -> None:
    """Have a file of ours deleted elsewhere, so that its bytes are in the trash."""
    host = life.scene.host
    await host.write("trashed.txt", b"deleted elsewhere")
    await trio.sleep(31.0)
    life.world.server.store.delete(host.id("trashed.txt"))
    for _ in range(2):
        await host.walk()
    assert len(host.parts.trash.entries()) == 1


def _wrongly_emptied(life: Life, host: Host) -> list[str]:
    is_old = life.world.true_s - START_S + life.agreed_s > TRASH_DAYS * DAY
    kept = [entry.path for entry in host.parts.trash.entries()]
    return [] if is_old or "trashed.txt" in kept else [f"lost: the trash was emptied too early: {kept}"]


def _expiring(world: World, ledger: Ledger, name: str, after_s: float) -> None:
    record = world.server.store.add(name, b"expires", downloadable=True, expires_in_s=int(after_s))
    ledger.others_file(record, b"expires")


def _http_date(now_s: float) -> str | None:
    try:
        return formatdate(now_s, usegmt=True)
    except (ValueError, OverflowError, OSError):
        return None


@asynccontextmanager
async def _mount(life: Life) -> AsyncIterator[Host]:
    service_ahead_s = life.world.service_ahead_s + life.date_ahead_s
    life.lowest_wall_s = min(life.lowest_wall_s, life.world.wall_ahead_s)
    life.lowest_service_s = min(life.lowest_service_s, service_ahead_s)
    risen_s = min(life.world.wall_ahead_s - life.lowest_wall_s, service_ahead_s - life.lowest_service_s)
    life.agreed_s = max(life.agreed_s, risen_s)
    async with life.world.mounted(machine=life.machine(), working=False) as host:
        life.scene.host = host
        await host.walk()
        await host.nursery.start(host.parts.writeback.run)
        host.nursery.start_soon(host.parts.reconnect.run)
        yield host


def main(arguments: list[str]) -> int:
    """Run cases and print the failures."""
    numbers = list(map(int, arguments))
    cases = range(numbers[0], numbers[0] + 1) if len(numbers) == 1 else range(*numbers)
    trust_little()
    began, failed = time.process_time(), 0
    for number in cases:
        outcome = outcome_of(case_of(number))
        failed += bool(outcome.found)
        if outcome.found or len(cases) == 1:
            print(outcome, flush=True)
        if len(cases) == 1:
            print(f"{outcome.requests} requests, {outcome.steps} steps, {outcome.took_s:.2f} s")
    print(f"{failed} of {len(cases)} failed, {time.process_time() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
