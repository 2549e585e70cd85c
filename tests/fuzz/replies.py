"""The cases of odd replies by their numbers: what is odd, and the judgement of what comes of it.

    python -m tests.fuzz.replies 1234          one case, told in words
    python -m tests.fuzz.replies 0 10000 2     every second case from 0 on; prints the failures

The first cases are systematic: each field, header, status and way of sending once, on an operation that has it. Those
after are combinations by chance. The number alone decides what a case is.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import msgspec
import trio

from remotefs.config import Config
from remotefs.errors import AccountError
from tests.faults import Rule
from tests.fuzz import replies_json as odd_json
from tests.fuzz import replies_wire as wire
from tests.fuzz.oracle import Ledger, complaints, recovered, watched
from tests.fuzz.outcome import Outcome, lived_through
from tests.fuzz.replies_life import Scene, furnish, live, prepare
from tests.fuzz.world import World, trust_little
from tests.hostile import FIGURES

CASES = 10_000
OPS = ("upload", "list", "metadata", "content", "delete")
# Steps of all tasks in one case; without a spin there are some 10,000.
MOST_STEPS = 400_000
# Fields of the reply to an upload that say where and how long the file is.
_CLAIMS = ("id ", "expires_at ", "created_at ", "filename ")
# From which request of the operation on, and how many.
_OFTEN = {"upload", "content", "delete"}
_WHEN: tuple[tuple[int, int | None], ...] = ((1, 1), (1, None), (2, 1), (1, 3))


@dataclass(frozen=True)
class Odd:
    """One odd reply: what is odd, in which operation's replies."""

    op: str
    what: str
    build: object
    nth: int = 1
    times: int | None = 1

    def action(self, world: World) -> wire.OddReply:
        """Return what the server does."""
        return self.build(world)

    def __str__(self) -> str:
        often = "from then on" if self.times is None else f"{self.times} times"
        return f"{self.op} {self.what} (from request {self.nth}, {often})"


@dataclass(frozen=True)
class Case:
    """One life with odd replies in it."""

    number: int
    odds: tuple[Odd, ...]
    # Pages of this many files, as a service with many has them; None: one page.
    page_files: int | None = None
    shape: str = "ga"
    ranges: bool = True
    # The odd replies begin with the first listing.
    from_the_start: bool = False

    def __str__(self) -> str:
        kinds = [
            self.shape,
            f"pages of {self.page_files}" if self.page_files else "",
            "" if self.ranges else "no ranges",
        ]
        kinds += ["from the start" if self.from_the_start else ""]
        odds = "; ".join(map(str, self.odds))
        return f"case {self.number} ({', '.join(filter(None, kinds))}): {odds}"


# -- which cases there are


def _fields() -> Iterator[tuple[str, str, object]]:
    places: list[tuple[str, odd_json.Path]] = []
    for name in odd_json.FILE_FIELDS:
        places += [
            ("upload", (name,)),
            ("metadata", (name,)),
            ("list", ("data", 0, name)),
            ("list", ("data", -1, name)),
        ]
    places += [("list", (name,)) for name in ("data", "next_page", "has_more", "last_id")]
    places += [("delete", (name,)) for name in ("id", "type")]
    for what, change in odd_json.changes():
        for op, path in places:
            yield op, f"{'.'.join(map(str, path))} {what}", _Field(path, change)


def _errors() -> Iterator[tuple[str, str, object]]:
    at = 0
    for what, change in odd_json.changes():
        for path in odd_json.ERROR_FIELDS:
            status = (400, 404, 429, 500, 403, 409)[at % 6]
            yield OPS[at % 5], f"error {status} {'.'.join(map(str, path))} {what}", _ErrorField(status, path, change)
            at += 1


def _pages() -> Iterator[tuple[str, str, object]]:
    for what, change in odd_json.PAGES.items():
        for _ in range(3):
            yield "list", f"page {what}", _Page(change)


def _statuses() -> Iterator[tuple[str, str, object]]:
    for number, status in enumerate(wire.STATUSES):
        for place, op in enumerate(OPS):
            body = list(wire.BODIES)[(number + place) % len(wire.BODIES)]
            carries_out = 200 <= status < 300 or (status + place) % 3 == 0
            more = {"location": "/v1/files"} if 300 <= status < 400 and (number + place) % 2 else {}
            done = "carried out" if carries_out else "not carried out"
            yield op, f"status {status} with {body}, {done}", _Status(status, body, carries_out, more)


def _headers() -> Iterator[tuple[str, str, object]]:
    at = 0
    for name in wire.HEADERS:
        for value in (None, *FIGURES, *wire.SPECIALS):
            for again in (False, True) if name in {"content-length", "transfer-encoding", "date"} else (False,):
                status = (None, 429, None, 503, 302)[at % 5] if _is_of_refusals(name) else None
                what = f"header {name}: {'missing' if value is None else value[:40]}{' again' if again else ''}"
                yield OPS[at % 5], what + (f" with {status}" if status else ""), _Header(name, value, again, status)
                at += 1 if at % 7 else 2


def _is_of_refusals(name: str) -> bool:
    return name in {"retry-after", "retry-after-ms", "x-should-retry", "location", "content-type"}


def _bytes() -> Iterator[tuple[str, str, object]]:
    for way in wire.BYTES:
        for op in OPS:
            yield op, way, _Bytes(way)


@dataclass(frozen=True)
class _Field:
    path: odd_json.Path
    change: object

    def __call__(self, world: World) -> wire.OddReply:
        return odd_json.OddField(world, self.path, self.change)


@dataclass(frozen=True)
class _ErrorField:
    status: int
    path: odd_json.Path
    change: object

    def __call__(self, world: World) -> wire.OddReply:
        return odd_json.OddError(world, self.status, self.path, self.change)


@dataclass(frozen=True)
class _Page:
    change: object

    def __call__(self, world: World) -> wire.OddReply:
        return odd_json.OddPage(world, self.change)


@dataclass(frozen=True)
class _Status:
    status: int
    body: str
    carries_out: bool
    headers: dict[str, str]

    def __call__(self, world: World) -> wire.OddReply:
        return wire.OddStatus(world, self.status, self.body, self.carries_out, self.headers)


@dataclass(frozen=True)
class _Header:
    name: str
    value: str | None
    again: bool
    status: int | None

    def __call__(self, world: World) -> wire.OddReply:
        return wire.OddHeader(world, self.name, self.value, self.again, self.status)


@dataclass(frozen=True)
class _Bytes:
    way: str

    def __call__(self, world: World) -> wire.OddReply:
        return wire.OddBytes(world, self.way)


@cache
def systematic() -> tuple[tuple[str, str, object], ...]:
    """Return each oddity once: its operation, its description, and how it is built."""
    return (*_bytes(), *_statuses(), *_pages(), *_fields(), *_errors(), *_headers())


def case_of(number: int) -> Case:
    """Return the case of a number."""
    chance = random.Random(number)
    known = systematic()
    odds = known[number : number + 1] or [chance.choice(known) for _ in range(chance.randint(2, 5))]
    return Case(
        number,
        tuple(Odd(op, what, build, *chance.choice(_WHEN if op in _OFTEN else _WHEN[:2])) for op, what, build in odds),
        page_files=chance.choice((None, None, 3)),
        shape=chance.choice(("ga", "ga", "beta", "auto")),
        ranges=chance.random() < 0.8,
        from_the_start=chance.random() < 0.2,
    )


# -- what comes of it


def outcome_of(case: Case) -> Outcome[Case]:
    """Live through a case and judge it."""
    return lived_through(case, _live, most_steps=MOST_STEPS, ranges=case.ranges)


async def _live(world: World, outcome: Outcome[Case]) -> None:
    case, ledger = outcome.case, Ledger()
    furnish(world, ledger)
    if case.page_files is not None:
        world.server.page_files = case.page_files
    rules: list[Rule] = []
    with watched() as log:
        async with world.mounted(change=lambda config: _shaped(config, case), working=False) as host:
            scene = Scene(world, host, ledger, random.Random(case.number))
            scene.contents_are_odd = any(odd.op in {"content", "list", "metadata"} for odd in case.odds)
            if case.from_the_start:
                rules += _begin(world, case)
            await _greet(scene)
            if not case.from_the_start:
                await prepare(scene)
                rules += _begin(world, case)
            before, began_s = world.server.script.count(), world.clock.now_s
            await live(scene, {odd.op for odd in case.odds}, 8)
            if not any(rule.hits for rule in rules):
                # Polls are rarer where the service allows few requests.
                await trio.sleep(240.0)
            _count(outcome, world, before, began_s)
            world.server.script.clear()
            outcome.hits = sum(rule.hits for rule in rules)
            outcome.found += scene.notes
            if host.parts.connectivity.suspended is None:
                await _judge(scene, outcome, log)
                return
        # Another account answered: nothing is sent until the next mount.
        try:
            async with world.mounted(change=lambda config: _shaped(config, case)) as host:
                scene.host = host
                await _judge(scene, outcome, log)
        except* AccountError:
            # An account that answered from the start and never after has the folder: that is refused (S1).
            if not case.from_the_start:
                raise


async def _judge(scene: Scene, outcome: Outcome[Case], log: object) -> None:
    try:
        # Files that nobody has are gone after two listings that could have shown them.
        await recovered(scene.host, walks=3)
    except AssertionError as error:
        outcome.found.append(f"never settled: {str(error)[:600]}")
    # Only what an answer said, and not that it was odd, can have moved a file.
    anywhere = any(odd.op in {"list", "metadata"} or odd.what.startswith(_CLAIMS) for odd in outcome.case.odds)
    outcome.found += await complaints(scene.host, scene.ledger, log, anywhere=anywhere)
    outcome.found += scene.world.notes


async def _greet(scene: Scene) -> None:
    """List and begin to work, as a mount does; one that cannot list tries again later."""
    host = scene.host
    for _ in range(20):
        try:
            await host.walk()
            break
        except Exception as error:
            if isinstance(error, trio.Cancelled):
                raise
            await trio.sleep(30.0)
    else:
        scene.world.server.script.clear()
        await host.walk()
    await host.nursery.start(host.parts.writeback.run)
    host.nursery.start_soon(host.parts.reconnect.run)


def _begin(world: World, case: Case) -> list[Rule]:
    return [world.server.script.add(odd.action(world), op=odd.op, nth=odd.nth, times=odd.times) for odd in case.odds]


def _count(outcome: Outcome[Case], world: World, before: int, began_s: float) -> None:
    sent, passed_s = world.server.script.count() - before, world.clock.now_s - began_s
    if sent > 150 + 2 * passed_s:
        outcome.found.append(f"spins: {sent} requests in {passed_s:.0f} s of odd replies")


def _shaped(config: Config, case: Case) -> Config:
    service = msgspec.structs.replace(config.service, shape=case.shape)
    return msgspec.structs.replace(config, service=service)


def main(arguments: list[str]) -> int:
    """Run cases and print the failures."""
    numbers = list(map(int, arguments))
    trust_little()
    cases = range(numbers[0], numbers[0] + 1) if len(numbers) == 1 else range(*numbers)
    began, failed, unhit = time.process_time(), 0, 0
    for number in cases:
        outcome = outcome_of(case_of(number))
        unhit += not outcome.hits
        if outcome.found or len(cases) == 1:
            failed += bool(outcome.found)
            print(outcome, flush=True)
        if len(cases) == 1:
            print(
                f"{outcome.hits} odd replies, {outcome.requests} requests, {outcome.steps} steps, {outcome.took_s:.2f} s"
            )
    print(f"{failed} of {len(cases)} failed, {unhit} met no odd reply, {time.process_time() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
