"""The workers that carry the journal's intents out, and the waiting of those who want to know.

One dispatcher starts what is due, as far as there are workers and the service is within reach; each intent runs in a
task of its own and never twice at a time. A failure puts the intent off and keeps it: nothing is dropped, ever.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.config import WritebackConfig
from remotefs.data.changes import NEVER_NS, Changes, Usage
from remotefs.data.churn import Churn
from remotefs.data.closer import Closer
from remotefs.data.deletion import Deleter
from remotefs.data.doorbell import Doorbell
from remotefs.data.filedata import FileData
from remotefs.data.link import Link
from remotefs.data.settler import Settler
from remotefs.data.upload import Uploader, is_definite
from remotefs.errors import RefusedError, RemotefsError
from remotefs.store.records import ContentState, Inode, Intent, IntentKind
from remotefs.store.store import Store

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
_DELETE_WORKERS = 4
# A definite refusal does not go away by asking every second: 1 min, doubled up to 1 h. No answer: 1 s up to 1 min.
_REFUSED_RETRY_S = (60.0, 3600.0)
_FAILED_RETRY_S = (1.0, 60.0)


class Outcome(Enum):
    """What a wait for an upload ended with."""

    DONE = "done"
    PENDING = "pending"


@dataclass(frozen=True)
class WritebackStatistics:
    """What `status` shows of the journal."""

    uploads: int
    relabels: int
    deletes: int
    running: int
    failed: int


@dataclass(frozen=True)
class _Goal:
    """What a drain of some files waits for: the version that each of them had when it began.

    Files that had nothing pending are not among them. `confirmations` had come before.
    """

    versions: Mapping[int, int]
    confirmations: int


class Pace(Protocol):
    """What the budget tells."""

    def eta_s(self, priority: Priority) -> float:
        """Seconds until a request of that priority could go out."""
        ...


class Writeback:
    """Runs the uploader, the deleter, the settler and the closer; `doorbell` wakes its dispatcher."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        filedata: FileData,
        settler: Settler,
        closer: Closer,
        churn: Churn,
        uploader: Uploader,
        deleter: Deleter,
        link: Link,
        pace: Pace,
        usage: Usage,
        config: WritebackConfig,
        doorbell: Doorbell,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._changes = changes
        self._filedata = filedata
        self._settler = settler
        self._closer = closer
        self._churn = churn
        self._uploader = uploader
        self._deleter = deleter
        self._link = link
        self._pace = pace
        self._usage = usage
        self._config = config
        self._doorbell = doorbell
        # Invariant: holds the seq of exactly the intents whose task runs.
        self._running: dict[int, Intent] = {}
        self._tickets: dict[int, Ticket] = {}
        self._refusals: dict[int, RefusedError] = {}
        self._waited: Counter[int] = Counter()
        self._progress = trio.Event()

    # -- waiting

    async def wait(self, ino: int, timeout_s: float) -> Outcome:
        """Wait until the inode's closed content is with the service, was refused, or cannot soon be (W2).

        Raises the RefusedError. Returns PENDING at once where the service is out of reach, the budget's turn would come
        later than `timeout_s`, or the file keeps changing (W4); but `strict` waits for that.
        """
        if self._pace.eta_s(Priority.CLOSE_UPLOAD) > timeout_s:
            return Outcome.PENDING
        # What was refused before is no longer what was closed.
        self._refusals.pop(ino, None)
        with self._waiting_for(ino), trio.move_on_after(timeout_s):
            while True:
                intent = self._journal.of_inode(ino)
                if intent is None or intent.kind is not IntentKind.UPLOAD:
                    return Outcome.DONE
                if refusal := self._refusals.get(ino):
                    raise refusal
                if not self._link.is_up or (self._config.durability != "strict" and self._churn.keeps_changing(ino)):
                    return Outcome.PENDING
                await self._progress.wait()
        return Outcome.PENDING

    async def drain(
        self,
        timeout_s: float,
        inos: Iterable[int] | None = None,
        report: Callable[[list[Intent]], None] = lambda _: None,
        *,
        leaves_open: bool = False,
    ) -> list[Intent]:
        """Make everything due now, of some inodes or of all, and wait; the intents that are left after `timeout_s`.

        Of some inodes what they hold now is waited for, not what is written to them meanwhile. With `leaves_open` files
        that are being written are left as they are, and nobody waits for their close. What went up is content then,
        where nothing is left.
        """
        goal = None if inos is None else self._goal(set(inos))
        self._hurry(self._outstanding(goal), failed_too=True)
        with trio.move_on_after(timeout_s):
            while left := [i for i in self._outstanding(goal) if not (leaves_open and self._is_being_written(i))]:
                report(left)
                await self._closer.close_all(None if goal is None else goal.versions)
                self._hurry(self._outstanding(goal))
                with trio.move_on_after(1.0):
                    await self._progress.wait()
            await self._settler.finish()
        return self._outstanding(goal)

    def _goal(self, inos: set[int]) -> _Goal:
        pending = (self._tree.find(i.ino) for i in self._journal.pending() if i.ino in inos and i.ino is not None)
        return _Goal(
            {inode.ino: inode.content_gen for inode in pending if inode is not None}, self._churn.confirmations
        )

    def _outstanding(self, goal: _Goal | None) -> list[Intent]:
        """All intents, or those without which the goal is not reached."""
        pending = self._journal.pending()
        return pending if goal is None else [intent for intent in pending if self._is_outstanding(intent, goal)]

    def _is_outstanding(self, intent: Intent, goal: _Goal) -> bool:
        version = goal.versions.get(intent.ino) if intent.ino is not None and intent.file_id is None else None
        if intent.ino is None or version is None:
            return False
        if intent.kind is not IntentKind.UPLOAD:
            return True
        return not self._churn.was_confirmed(intent.ino, version, after=goal.confirmations)

    def _is_being_written(self, intent: Intent) -> bool:
        inode = self._tree.find(intent.ino) if intent.ino is not None and intent.file_id is None else None
        return inode is not None and inode.state == ContentState.DIRTY and self._usage.is_open_for_write(inode.ino)

    def _hurry(self, intents: Iterable[Intent], *, failed_too: bool = False) -> None:
        """Nobody waits for settling and merging now; what failed keeps its pause, unless it is tried once more."""
        now = time.time_ns()
        for intent in intents:
            if now < intent.due_ns < NEVER_NS and (failed_too or intent.reason is None):
                self._journal.reschedule(intent.seq, due_ns=now)
        self._doorbell.ring()

    async def retry(self, inos: Iterable[int] | None = None) -> int:
        """Try what failed again now, of some inodes or of all; how many files and removals."""
        wanted = None if inos is None else set(inos)
        closed = await self._closer.close_all(wanted)
        failed = [
            i for i in self._journal.pending() if i.reason and (wanted is None or (i.ino in wanted and not i.file_id))
        ]
        self._hurry(failed, failed_too=True)
        return len(failed) + closed

    def refusal(self, ino: int) -> RefusedError | None:
        """The service's last definite no to the inode's content."""
        return self._refusals.get(ino)

    @contextmanager
    def _waiting_for(self, ino: int) -> Iterator[None]:
        self._waited[ino] += 1
        intent = self._journal.of_inode(ino)
        if intent is not None and intent.seq in self._tickets:
            self._tickets[intent.seq].promote(Priority.CLOSE_UPLOAD)
        self._doorbell.ring()
        try:
            yield
        finally:
            self._waited[ino] -= 1
            if not self._waited[ino]:
                del self._waited[ino]

    # -- work

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dispatch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_link)
            nursery.start_soon(self._settler.run)
            nursery.start_soon(self._closer.run)
            task_status.started()
            while True:
                if self._changes.has_garbage:
                    nursery.start_soon(self._sweep)
                if self._link.is_up:
                    self._start_due(nursery)
                await self._doorbell.wait(self._pause_s())

    async def _follow_link(self) -> None:
        while True:
            await self._link.changed()
            if self._link.is_up:
                self._retry_now()
            self._notify()

    def _retry_now(self) -> None:
        """The way is free again: what only waited for that goes at once."""
        now = time.time_ns()
        for intent in self._journal.pending():
            if intent.reason is not None and now < intent.due_ns < NEVER_NS and intent.ino not in self._refusals:
                self._journal.reschedule(intent.seq, due_ns=now)

    def statistics(self) -> WritebackStatistics:
        """A record of now."""
        kinds = Counter(intent.kind for intent in self._journal.pending())
        return WritebackStatistics(
            uploads=kinds[IntentKind.UPLOAD],
            relabels=kinds[IntentKind.RELABEL],
            deletes=kinds[IntentKind.DELETE],
            running=len(self._running),
            failed=len(self._refusals),
        )

    async def _sweep(self) -> None:
        try:
            await self._filedata.sweep()
        except (RemotefsError, OSError) as error:
            _log.warning("bytes that were given up stay until the next start: %s", error)

    def _start_due(self, nursery: trio.Nursery) -> None:
        now = time.time_ns()
        for intent in self._choose_uploads(now):
            ticket = self._tickets[intent.seq] = Ticket(self._priority(intent))
            self._start(nursery, intent, partial(self._uploader.carry_out, intent, ticket))
        deleting = sum(intent.kind is IntentKind.DELETE for intent in self._running.values())
        for intent in self._journal.due_deletes(now, _DELETE_WORKERS + deleting):
            if intent.seq not in self._running and deleting < _DELETE_WORKERS:
                deleting += 1
                self._start(nursery, intent, partial(self._deleter.carry_out, intent))

    def _choose_uploads(self, now_ns: int) -> list[Intent]:
        """Those that somebody waits for first, then the longest due, as many as there are workers.

        A file whose upload is not over yet has to wait, though that was for an intent which is gone.
        """
        uploading = {intent.ino for intent in self._running.values() if intent.kind is not IntentKind.DELETE}
        room = self._config.upload_workers - len(uploading)
        waited = [intent for ino in self._waited if (intent := self._journal.of_inode(ino)) and intent.due_ns <= now_ns]
        due = self._journal.due_uploads(now_ns, room + len(uploading)) if room > 0 else []
        chosen = dict.fromkeys(i for i in [*waited, *due] if i.ino not in uploading)
        return [intent for intent in chosen if not self._is_premature(intent, now_ns)][: max(room, 0)]

    def _is_premature(self, intent: Intent, now_ns: int) -> bool:
        """An empty file that is still open for writing is about to get its bytes (W10)."""
        inode = self._tree.find(intent.ino) if intent.ino is not None else None
        if inode is None or inode.size > 0 or not self._usage.is_open_for_write(inode.ino) or inode.nlink == 0:
            return False
        if self._churn.is_frozen(inode.ino):  # what is to be sent is not the empty file
            return False
        self._journal.reschedule(intent.seq, due_ns=now_ns + int(self._config.empty_grace_s * _NS))
        return True

    def _priority(self, intent: Intent) -> Priority:
        if intent.kind is IntentKind.RELABEL:
            return Priority.RELABEL
        return Priority.CLOSE_UPLOAD if intent.ino in self._waited else Priority.QUEUED_UPLOAD

    def _start(self, nursery: trio.Nursery, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        self._running[intent.seq] = intent
        nursery.start_soon(self._carry_out, intent, work)

    async def _carry_out(self, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._clear_refusal(intent)
        except (RemotefsError, OSError) as error:
            self._put_off(intent, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not end the mount
            _log.error("%s failed in a way that nobody foresaw", self.label(intent), exc_info=error)
            self._put_off(intent, error)
        finally:
            del self._running[intent.seq]
            self._tickets.pop(intent.seq, None)
            self._notify()
        if intent.ino is not None and intent.kind is not IntentKind.DELETE:
            self._settler.want(intent.ino)

    def _put_off(self, intent: Intent, error: Exception) -> None:
        first_s, most_s = _FAILED_RETRY_S if self._link.reason else _REFUSED_RETRY_S
        if not is_definite(error):
            first_s, most_s = _FAILED_RETRY_S
        elif intent.ino is not None and isinstance(error, RefusedError):
            self._refusals[intent.ino] = error
        _log.warning("%s of %s waits: %s", intent.kind, self.label(intent), error)
        current = self._journal.find(intent.seq)
        if current is not None:
            delay_s = min(first_s * 2.0**current.tries, most_s)
            self._journal.failed(intent.seq, str(error), due_ns=time.time_ns() + int(delay_s * _NS))

    def _clear_refusal(self, intent: Intent) -> None:
        if intent.ino is not None and intent.kind is not IntentKind.DELETE:
            self._refusals.pop(intent.ino, None)

    def label(self, intent: Intent) -> str:
        """What an intent is about, for people: a path, or else an id."""
        inode: Inode | None = self._tree.find(intent.ino) if intent.ino is not None else None
        return (self._changes.path(inode) if inode else None) or intent.file_id or f"inode {intent.ino}"

    def _notify(self) -> None:
        self._progress.set()
        self._progress = trio.Event()
        self._doorbell.ring()

    def _pause_s(self) -> float:
        due_ns = self._journal.next_due_ns(time.time_ns())
        return 60.0 if due_ns is None else min(max((due_ns - time.time_ns()) / _NS, 0.0), 60.0)
