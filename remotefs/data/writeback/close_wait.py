"""The wait of a close for its upload (W2)."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import trio

from remotefs.api.budget import Priority
from remotefs.api.connectivity import Connectivity
from remotefs.config import WritebackConfig
from remotefs.data.intents.churn import Churn
from remotefs.data.writeback.failures import Failures
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.journal import Journal
from remotefs.store.records import IntentKind
from remotefs.waits import waiting_for


class Outcome(Enum):
    """How a wait for an upload ended."""

    DONE = "done"
    PENDING = "pending"


class Pace(Protocol):
    """The part of the budget that a wait looks at."""

    def eta_s(self, priority: Priority) -> float:
        """Return the seconds until a request of that priority could go out."""
        ...


class CloseWait:
    """Lets a close wait until the service has what was closed."""

    def __init__(
        self,
        journal: Journal,
        failures: Failures,
        waiters: Waiters,
        connectivity: Connectivity,
        pace: Pace,
        churn: Churn,
        config: WritebackConfig,
    ) -> None:
        self._journal = journal
        self._failures = failures
        self._waiters = waiters
        self._connectivity = connectivity
        self._pace = pace
        self._churn = churn
        self._config = config

    async def wait(self, ino: int, timeout_s: float) -> Outcome:
        """Wait until the service has the inode's closed content, or cannot have it soon (W2).

        Returns PENDING at once when the service is out of reach, the budget's turn would come later than `timeout_s`,
        or the file keeps changing (W4); `strict` durability waits in the last case. Raises the RefusedError.
        """
        if self._pace.eta_s(Priority.CLOSE_UPLOAD) > timeout_s:
            return Outcome.PENDING
        # An earlier refusal was one of other content.
        self._failures.forget_refusal(ino)
        with self._waiters.waiting_for(ino), waiting_for("service"), trio.move_on_after(timeout_s):
            while True:
                intent = self._journal.of_inode(ino)
                if intent is None or intent.kind is not IntentKind.UPLOAD:
                    return Outcome.DONE
                if refusal := self._failures.refusal(ino):
                    # Each raise would add its frames to those of the last one.
                    raise refusal.with_traceback(None)
                if not self._connectivity.is_up or self._will_be_cut(ino):
                    return Outcome.PENDING
                await self._waiters.progress()
        return Outcome.PENDING

    def _will_be_cut(self, ino: int) -> bool:
        return self._config.durability != "strict" and self._churn.keeps_changing(ino)
