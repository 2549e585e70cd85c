"""The tasks of this room that live as long as the mount."""

from __future__ import annotations

from functools import partial

import trio

from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.connection import ConnectionFollower
from remotefs.data.writeback.dispatcher import Dispatcher
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.rename_follower import RenameFollower
from remotefs.data.writeback.statistics import WritebackStatistics
from remotefs.data.writeback.workers import Workers
from remotefs.store.journal import Journal
from remotefs.supervision import Supervisor


class Writeback:
    """Runs the dispatcher, the promoter, the closer, and what follows connections and renames."""

    def __init__(
        self,
        journal: Journal,
        dispatcher: Dispatcher,
        follower: ConnectionFollower,
        promoter: Promoter,
        closer: Closer,
        workers: Workers,
        rename_follower: RenameFollower,
        supervisor: Supervisor,
    ) -> None:
        self._journal = journal
        self._dispatcher = dispatcher
        self._follower = follower
        self._promoter = promoter
        self._closer = closer
        self._workers = workers
        self._rename_follower = rename_follower
        self._supervisor = supervisor

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry intents out until cancelled."""
        keep = self._supervisor.keep
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, "following the connection", self._follower.run)
            nursery.start_soon(keep, "turning what was uploaded into content", self._promoter.run)
            following = "letting files follow renamed folders"
            nursery.start_soon(keep, following, self._rename_follower.run, name="RenameFollower.run")
            nursery.start_soon(keep, "closing files whose close failed", self._closer.run)
            nursery.start_soon(keep, "starting what is due", partial(self._dispatcher.run, nursery))
            task_status.started()

    def statistics(self) -> WritebackStatistics:
        """Return the numbers of now."""
        return WritebackStatistics.of(
            self._journal.counts(), running=len(self._workers.running), failed=self._workers.refused_count
        )
