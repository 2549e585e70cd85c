"""How much a task does before another one gets the loop (H8): counted in instructions of SQLite, and not in seconds.

    with Turns(host) as turns:
        await host.parts.drainer.drain(10.0)
    assert turns.longest < BOUND, turns

A busy machine does not change the count. One that looks at every row of a long table makes it long.
"""

from __future__ import annotations

from typing import Self

import trio

from tests.parts import Host

# The instructions between two looks at the counter.
_TICK = 20
# About as many take five milliseconds. A look at 10,000 rows of the journal takes twice as many.
BOUND = 100_000


class Turns(trio.abc.Instrument):
    """Counts the instructions of each step of each task; `longest` is the largest count, by `whose`."""

    def __init__(self, host: Host) -> None:
        self._connection = host.parts.database._connection
        self._count = 0
        self.longest = 0
        self.whose = ""

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        self._count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._count > self.longest:
            self.longest, self.whose = self._count, task.name

    def _tick(self) -> int:
        self._count += _TICK
        return 0

    def __enter__(self) -> Self:
        self._connection.set_progress_handler(self._tick, _TICK)
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)
        self._connection.set_progress_handler(None, 0)

    def __repr__(self) -> str:
        return f"{self.longest} instructions in one turn of {self.whose}"
