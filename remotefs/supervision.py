"""The boundary around the tasks of a mount: a task that fails ends neither the mount nor another task (H7).

In a trio nursery an exception of one task cancels all the others. So each task that lives as long as the mount runs
inside `Supervisor.keep`, which catches the failure, counts it for `status`, and starts the task again after a pause.
The pauses double from 0.5 s to 60 s, so that a task that fails at once does not keep the processor busy.

Errors of a single request do not come here: the program that made the request gets them as an errno. `trio.Cancelled`
passes through, because a cancelled task has not failed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from remotefs.backoff import backoff_s
from remotefs.errors import RemotefsError

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0
# After a run of at least this length the pauses begin with the first one again: the earlier trouble is over.
_HEALTHY_S = 60.0
# The failures of this many tasks are kept, the last ones. A task may be one change of one file.
_KEPT = 100

Task = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class TaskFailure:
    """The failures of one task, for `status`: how many, and the time (s since the epoch) and reason of the last."""

    task: str
    count: int
    at_s: float
    reason: str


class Supervisor:
    """Keeps long-lived tasks running and counts the failures of each task by its name."""

    def __init__(self) -> None:
        self._failures: dict[str, TaskFailure] = {}

    async def keep(self, name: str, task: Task) -> None:
        """Run a long-lived task and start it again whenever it fails. Return when the task returns by itself."""
        failures = 0
        while True:
            began = trio.current_time()
            if await self.guard(name, task):
                return
            if trio.current_time() - began >= _HEALTHY_S:
                failures = 0
            await trio.sleep(backoff_s(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, failures))
            failures += 1

    async def guard(self, name: str, task: Task) -> bool:
        """Run a task once and return whether it succeeded. An exception of the task is counted and logged."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - no failure of one task may end the mount
            self.note(name, error)
            return False
        return True

    def note(self, name: str, error: Exception) -> None:
        """Count a failure of a task and log it, with the traceback if the exception shows a mistake in our code."""
        # Taken out and put in again, so that the first of them failed longest ago.
        before = self._failures.pop(name, None)
        reason = str(error) or type(error).__name__
        self._failures[name] = TaskFailure(name, before.count + 1 if before else 1, time.time(), reason)
        if len(self._failures) > _KEPT:
            del self._failures[next(iter(self._failures))]
        # Errors of the service, the disk and the machine are expected, and their messages say enough. Any other
        # exception is a bug, which cannot be found without its traceback.
        foreseen = isinstance(error, RemotefsError | OSError)
        _log.error("%s failed; the mount goes on: %s", name, reason, exc_info=None if foreseen else error)

    def failures(self) -> tuple[TaskFailure, ...]:
        """Return the tasks that have failed so far, the latest failure first."""
        return tuple(reversed(self._failures.values()))
