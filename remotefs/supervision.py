"""The boundary around the tasks of a mount: none of them ends it, or another (H7).

A long-lived task that fails is begun again after a pause, and counted. The errors of a request are not its affair: they
are answered to the program that asked. `trio.Cancelled` passes, because it is not a failure.
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
# A task that ran for so long before it failed begins with the first pause again.
_HEALTHY_S = 60.0

Task = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class TaskFailure:
    """What `status` shows of a task that failed: how often, and the last time (seconds since the epoch) and why."""

    task: str
    count: int
    at_s: float
    reason: str


class Supervisor:
    """Keeps tasks going and counts their failures, by the task's name."""

    def __init__(self) -> None:
        self._failures: dict[str, TaskFailure] = {}

    async def keep(self, name: str, task: Task) -> None:
        """Run a long-lived task; begin it again whenever it fails. Returns when it returns."""
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
        """Run a task once and return whether it went well; what it raises is counted and goes to the log."""
        try:
            await task()
        except Exception as error:  # noqa: BLE001 - nothing that goes wrong in one task may end the mount
            self.note(name, error)
            return False
        return True

    def note(self, name: str, error: Exception) -> None:
        """Count a failure of a task, and log it: with its traceback where it is a mistake of ours."""
        before = self._failures.get(name)
        reason = str(error) or type(error).__name__
        self._failures[name] = TaskFailure(name, before.count + 1 if before else 1, time.time(), reason)
        foreseen = isinstance(error, RemotefsError | OSError)
        _log.error("%s failed and goes on: %s", name, reason, exc_info=None if foreseen else error)

    def failures(self) -> tuple[TaskFailure, ...]:
        """Return what failed so far, the last first."""
        return tuple(sorted(self._failures.values(), key=lambda failure: failure.at_s, reverse=True))
