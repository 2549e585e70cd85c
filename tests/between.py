"""Acting between two awaits of a task: the moments that a test which only waits for events does not reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio


@dataclass(eq=False)
class Between(trio.abc.Instrument):
    """Calls `act`, which does not wait, right before the nth step (from 0) of the first task of that name."""

    task_name: str
    nth: int
    act: Callable[[], object]
    # How many steps the task has had so far.
    seen: int = 0
    failure: BaseException | None = None
    _task: trio.lowlevel.Task | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._task is None and task.name.endswith(self.task_name):
            self._task = task
        if task is not self._task:
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
