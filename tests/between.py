"""Acting between two awaits of a task: the moments that a test which only waits for events does not reach."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from tests.faults import FaultyServer, faulty_server


@dataclass(eq=False)
class Between(trio.abc.Instrument):
    """Calls `act`, which does not wait, right before the nth step of one task of that name; all are counted from 0."""

    task_name: str
    nth: int
    act: Callable[[], object]
    # Which of the tasks of that name.
    which: int = 0
    # How many steps the task has had so far.
    seen: int = 0
    failure: BaseException | None = None
    _tasks: list[trio.lowlevel.Task] = field(default_factory=list)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith(self.task_name) and task not in self._tasks:
            self._tasks.append(task)
        if task not in self._tasks[self.which : self.which + 1]:
            return
        if self.seen == self.nth:
            try:
                self.act()
            except BaseException as error:  # noqa: BLE001 - trio would only log it
                self.failure = error
        self.seen += 1

    def __enter__(self) -> Between:
        trio.lowlevel.add_instrument(self)
        return self

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)
        assert self.failure is None, self.failure


async def at_every_step(
    folder: Path, act: Callable[[Path, FaultyServer, int], Awaitable[int]], *, stride: int = 1
) -> None:
    """Act at the first step, then at the second, and so on, each time in a folder and with a server of its own.

    With a `stride` of 3 every third step is one. `act` gets these and the number of the step, from 0, and returns how many steps there were.
    """
    nth = steps = 0
    while nth <= steps:
        place = folder / str(nth)
        with faulty_server(place / "server", uploads_downloadable=False) as server:
            steps = await act(place, server, nth)
        shutil.rmtree(place)
        nth += stride
    assert steps > 0, "no task of that name took a step"
