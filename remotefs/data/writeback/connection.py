"""What a change of the connection means for pending changes."""

from __future__ import annotations

from remotefs.api.connectivity import Connectivity
from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.failures import Failures
from remotefs.data.writeback.turns import all_intents
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.journal import Journal


class ConnectionFollower:
    """Wakes waiters when the connection changes, and tries again what failed while the service was out of reach."""

    def __init__(
        self, journal: Journal, connectivity: Connectivity, agenda: Agenda, failures: Failures, waiters: Waiters
    ) -> None:
        self._journal = journal
        self._connectivity = connectivity
        self._agenda = agenda
        self._failures = failures
        self._waiters = waiters

    async def run(self) -> None:
        """Follow the connection until cancelled."""
        while True:
            await self._connectivity.changed()
            if self._connectivity.is_up:
                await self._retry_now()
            self._waiters.notify()

    async def _retry_now(self) -> None:
        """Make due what failed, except what the service refused: that a connection is back does not change it."""
        is_refused = self._failures.refusal
        async for page in all_intents(self._journal):
            failed = (intent for intent in page if self._agenda.reason(intent) is not None)
            again = [i for i in failed if i.ino is None or is_refused(i.ino) is None]
            self._agenda.hurry_waiting(again, failed_too=True)
