"""The callers that wait for uploads: what they wait for goes first, and they look again whenever an intent ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from remotefs.api.budget import Priority, Ticket
from remotefs.broadcast import Broadcast
from remotefs.store.journal import Journal
from remotefs.store.records import Intent, IntentKind
from remotefs.wakeup import Wakeup


class Waiters:
    """Owns who waits for which inode, and the places of uploads in the queue of the budget (`Ticket`).

    `wakeup` wakes the dispatcher.
    """

    def __init__(self, journal: Journal, wakeup: Wakeup) -> None:
        self._journal = journal
        self._wakeup = wakeup
        # By inode the number of its waiters; no zeros.
        self._waiters: Counter[int] = Counter()
        # By intent, from its start to its end.
        self._tickets: dict[int, Ticket] = {}
        self._progress = Broadcast()

    @property
    def inos(self) -> Collection[int]:
        """Return the inodes that somebody waits for."""
        return self._waiters.keys()

    @contextmanager
    def waiting_for(self, ino: int) -> Iterator[None]:
        """Let the upload of an inode go first while the block lasts, also one that waits for the budget already."""
        self._waiters[ino] += 1
        intent = self._journal.of_inode(ino)
        if intent is not None and intent.seq in self._tickets:
            self._tickets[intent.seq].promote(Priority.CLOSE_UPLOAD)
        self._wakeup.set()
        try:
            yield
        finally:
            self._waiters[ino] -= 1
            if not self._waiters[ino]:
                del self._waiters[ino]

    def begin(self, intent: Intent) -> Ticket:
        """Return the ticket with which an upload begins that is started now."""
        ticket = self._tickets[intent.seq] = Ticket(self._priority(intent))
        return ticket

    def end(self, intent: Intent) -> None:
        """Forget the ticket of an intent whose task is over, and wake all waiters and the dispatcher."""
        self._tickets.pop(intent.seq, None)
        self.notify()

    def notify(self) -> None:
        """Wake all waiters and the dispatcher: each looks again at what it waits for."""
        self._progress.notify()
        self._wakeup.set()

    async def progress(self) -> None:
        """Return at the next call of `notify`; the caller looks at its condition without an await before this."""
        await self._progress.wait()

    def _priority(self, intent: Intent) -> Priority:
        if intent.kind is IntentKind.REUPLOAD:
            return Priority.REUPLOAD
        return Priority.CLOSE_UPLOAD if intent.ino in self._waiters else Priority.QUEUED_UPLOAD
