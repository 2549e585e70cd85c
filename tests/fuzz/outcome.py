"""What a fuzzed case came to, and how a case is lived through and judged: the same for each fuzzer of the service."""

from __future__ import annotations

import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tests.fuzz.oracle import counted
from tests.fuzz.world import World, run_world

C = TypeVar("C")


@dataclass
class Outcome(Generic[C]):
    """What a case came to."""

    case: C
    found: list[str] = field(default_factory=list)
    hits: int = 0
    requests: int = 0
    steps: int = 0
    # Of the processor.
    took_s: float = 0.0

    def __str__(self) -> str:
        kinds: dict[str, int] = {}
        lines = []
        for complaint in self.found:
            kind = ": ".join(complaint.split(": ")[:2])[:30]
            kinds[kind] = kinds.get(kind, 0) + 1
            if kinds[kind] <= 2:
                lines.append(f"    {complaint}")
        more = len(self.found) - len(lines)
        return "\n".join([str(self.case), *lines, *([f"    and {more} more"] if more else [])])


def lived_through(
    case: C, live: Callable[[World, Outcome[C]], Awaitable[None]], *, most_steps: int, **world_options: Any
) -> Outcome[C]:
    """Live through a case and judge it; `world_options` are those of `run_world`."""
    outcome, began = Outcome(case), time.process_time()

    async def life(world: World) -> None:
        with counted(most_steps) as steps:
            await live(world, outcome)
        outcome.steps, outcome.requests = steps.count, world.server.script.count()
        if steps.count > most_steps:
            outcome.found.append(f"spins: {steps.busiest()}")

    try:
        run_world(life, **world_options)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome.found.append("ended: " + "".join(traceback.format_exception(error))[-3000:])
    outcome.took_s = time.process_time() - began
    return outcome
