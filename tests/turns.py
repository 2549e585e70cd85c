"""How much a task does before another one gets the loop (H8): counted in instructions of SQLite, and not in seconds.

It also tells which folders were read in the loop's thread: they may hold thousands of files.

    with Turns(host) as turns:
        await host.parts.drainer.drain(10.0)
    assert turns.longest < BOUND, turns

A busy machine does not change the count. One that looks at every row of a long table makes it long.
"""

from __future__ import annotations

import sys
import threading
from typing import Self

import trio

from tests.parts import Host

# The instructions between two looks at the counter.
_TICK = 20
# About as many take five milliseconds. A look at 10,000 rows of the journal takes twice as many.
BOUND = 100_000


# What is told of a folder that is read, while a Turns counts: hooks can be added, but not removed.
_listening: list[Turns] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if _listening and event in {"os.scandir", "os.listdir"}:
        _listening[-1].read(str(arguments[0]))


sys.addaudithook(_heard)


class Turns(trio.abc.Instrument):
    """Counts the instructions of each step of each task; `longest` is the largest count, by `whose`."""

    def __init__(self, host: Host) -> None:
        self._connection = host.parts.database._connection
        self._count = 0
        self.longest = 0
        self.whose = ""
        self.folders: list[str] = []
        self._state_dir, self._thread = str(host.state_dir), threading.get_ident()

    def before_task_step(self, _: trio.lowlevel.Task) -> None:
        self._count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._count > self.longest:
            self.longest, self.whose = self._count, task.name

    def read(self, folder: str) -> None:
        """A folder is read, by any thread."""
        if threading.get_ident() == self._thread and folder.startswith(self._state_dir):
            self.folders.append(folder)

    def _tick(self) -> int:
        self._count += _TICK
        return 0

    def __enter__(self) -> Self:
        self._connection.set_progress_handler(self._tick, _TICK)
        trio.lowlevel.add_instrument(self)
        _listening.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _listening.remove(self)
        trio.lowlevel.remove_instrument(self)
        self._connection.set_progress_handler(None, 0)

    def __repr__(self) -> str:
        return f"{self.longest} instructions in one turn of {self.whose}"
