"""The loop that starts what is due, while there are workers and the service is within reach."""

from __future__ import annotations

import trio

from remotefs.api.connectivity import Connectivity
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.writeback.deleter import RemoteDeleter
from remotefs.data.writeback.selection import Selection
from remotefs.data.writeback.workers import Workers
from remotefs.supervision import Supervisor
from remotefs.wakeup import Wakeup

# Bytes that could not be removed are tried again without a wakeup.
_LONGEST_PAUSE_S = 60.0


class Dispatcher:
    """Starts intents that are due, and the removal of bytes that were given up; `wakeup` makes it look again."""

    def __init__(
        self,
        selection: Selection,
        workers: Workers,
        deleter: RemoteDeleter,
        sweeper: Sweeper,
        connectivity: Connectivity,
        wakeup: Wakeup,
        supervisor: Supervisor,
    ) -> None:
        self._selection = selection
        self._workers = workers
        self._deleter = deleter
        self._sweeper = sweeper
        self._connectivity = connectivity
        self._wakeup = wakeup
        self._supervisor = supervisor

    async def run(self, nursery: trio.Nursery) -> None:
        """Start what is due, in `nursery`, until cancelled; tasks that were started go on if this fails."""
        while True:
            if self._sweeper.is_waiting:
                nursery.start_soon(self._supervisor.guard, "removing bytes that were given up", self._sweeper.sweep)
            self._deleter.resume()
            # Each close of any file comes here, and mostly there is nothing.
            if self._selection.is_empty:
                await self._wakeup.wait(_LONGEST_PAUSE_S)
                continue
            if self._connectivity.is_up:
                self._start_due(nursery)
            await self._wakeup.wait(self._selection.next_due_s())

    def _start_due(self, nursery: trio.Nursery) -> None:
        for intent in self._selection.uploads(self._workers.running):
            self._workers.start_upload(nursery, intent)
        for intent in self._selection.deletes(self._workers.running):
            self._workers.start_delete(nursery, intent)
