"""The wait of a close for its upload (W2)."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

import trio

from remotefs.api.budget import Priority
from remotefs.api.connectivity import Connectivity
from remotefs.config import WritebackConfig
from remotefs.data.intents.churn import Churn
from remotefs.data.share.contents import SharedContents
from remotefs.data.writeback.failures import Failures
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.records import IntentKind
from remotefs.store.store import Store
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
        store: Store,
        failures: Failures,
        waiters: Waiters,
        connectivity: Connectivity,
        pace: Pace,
        churn: Churn,
        shared: SharedContents,
        config: WritebackConfig,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._failures = failures
        self._waiters = waiters
        self._connectivity = connectivity
        self._pace = pace
        self._churn = churn
        self._shared = shared
        self._config = config

    async def wait(self, ino: int, timeout_s: float) -> Outcome:
        """Wait until the service, and the shared store if there is one, have the inode's closed content (W2, X2).

        Returns PENDING at once when one of them is out of reach, the budget's turn would come later than `timeout_s`,
        or the file keeps changing (W4); `strict` durability waits in the last case. Raises the RefusedError.
        """
        if self._pace.eta_s(Priority.CLOSE_UPLOAD) > timeout_s:
            return Outcome.PENDING
        # An earlier refusal was one of other content.
        self._failures.forget_refusal(ino)
        with self._waiters.waiting_for(ino), waiting_for("service"), trio.move_on_after(timeout_s):
            while (outcome := self._outcome(ino)) is None:
                await self._waiters.progress()
            return outcome
        return Outcome.PENDING

    def _outcome(self, ino: int) -> Outcome | None:
        """Return how the wait ends, None to wait on. Raises the RefusedError."""
        intent = self._journal.of_inode(ino)
        if intent is None or intent.kind is not IntentKind.UPLOAD:
            return self._outcome_in_store(ino)
        if refusal := self._failures.refusal(ino):
            # Each raise would add its frames to those of the last one.
            raise refusal.with_traceback(None)
        return Outcome.PENDING if not self._connectivity.is_up or self._will_be_cut(ino) else None

    def _outcome_in_store(self, ino: int) -> Outcome | None:
        inode = self._tree.find(ino)
        if inode is None or inode.file_id is None or not self._shared.is_missed(inode.file_id):
            return Outcome.DONE
        return None if self._shared.is_awaited(inode.file_id) else Outcome.PENDING

    def _will_be_cut(self, ino: int) -> bool:
        return self._config.durability != "strict" and self._churn.keeps_changing(ino)
