"""The workers that carry the journal's intents out, and the waiting of those who want to know.

One dispatcher starts what is due, as far as there are workers and the service is within reach; each intent runs in a
task of its own and never twice at a time. A failure puts the intent off and keeps it: nothing is dropped, ever.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

import trio

from remotefs.api.budget import Priority, Ticket
from remotefs.api.connectivity import Connectivity
from remotefs.backoff import backoff_s
from remotefs.config import WritebackConfig
from remotefs.data.files.file_bytes import FileBytes
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.due_times import REFUSED_LONGEST_S
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.deleter import RemoteDeleter
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.uploader import Uploader, is_definite
from remotefs.errors import MisansweredUpload, RefusedError, RemotefsError
from remotefs.store.records import ContentState, Inode, Intent, IntentKind
from remotefs.store.store import Store
from remotefs.supervision import Supervisor
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
_DELETE_WORKERS = 4
# A definite refusal does not go away by asking every second: 1 min, doubled up to 1 h. No answer: 1 s up to 1 min.
_REFUSED_RETRY_S = (60.0, REFUSED_LONGEST_S)
_FAILED_RETRY_S = (1.0, 60.0)
# A drain looks at all intents so often, to say what is left.
_LOOK_EVERY_S = 1.0
# A reply about another file: it is looked for soon, and sent again ever more rarely, for each time may make a copy.
_MISANSWERED_RETRY_S = (1.0, 3600.0)


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
    """Runs the uploader, the deleter, the promoter and the closer; `wakeup` wakes its dispatcher."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        file_bytes: FileBytes,
        promoter: Promoter,
        closer: Closer,
        churn: Churn,
        uploader: Uploader,
        deleter: RemoteDeleter,
        connectivity: Connectivity,
        pace: Pace,
        usage: Usage,
        config: WritebackConfig,
        wakeup: Wakeup,
        clock: Callable[[], int],
        supervisor: Supervisor,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._paths = intents.paths
        self._garbage = intents.garbage
        self._file_bytes = file_bytes
        self._promoter = promoter
        self._closer = closer
        self._churn = churn
        self._uploader = uploader
        self._deleter = deleter
        self._connectivity = connectivity
        self._pace = pace
        self._usage = usage
        self._config = config
        self._wakeup = wakeup
        self._clock = clock
        self._supervisor = supervisor
        self._agenda = Agenda(store.journal, clock)
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
                if not self._connectivity.is_up or (
                    self._config.durability != "strict" and self._churn.keeps_changing(ino)
                ):
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
                with trio.move_on_after(_LOOK_EVERY_S):
                    await self._until_reached(goal)
            await self._promoter.finish()
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
        if intent.ino is None or not self._usage.is_open_for_write(intent.ino):
            return False
        inode = self._tree.find(intent.ino)
        return intent.kind is IntentKind.DELETE or (inode is not None and inode.state == ContentState.DIRTY)

    async def _until_reached(self, goal: _Goal | None) -> None:
        """Return once nothing is outstanding; without a look at everything each time."""
        if goal is None:
            while self._journal.count():
                await self._progress.wait()
        else:
            for ino in goal.versions:
                while (intent := self._journal.of_inode(ino)) is not None and self._is_outstanding(intent, goal):
                    await self._progress.wait()

    def _hurry(self, intents: Iterable[Intent], *, failed_too: bool = False) -> None:
        """Nobody waits for settling and merging now; what failed keeps its pause, unless it is tried once more."""
        waiting = filter(self._agenda.waits, intents)
        self._agenda.hurry(i for i in waiting if failed_too or self._agenda.reason(i) is None)
        self._wakeup.set()

    async def retry(self, inos: Iterable[int] | None = None) -> int:
        """Try what failed again now, of some inodes or of all; how many files and removals."""
        wanted = None if inos is None else set(inos)
        closed = await self._closer.close_all(wanted)
        pending = [i for i in self._journal.pending() if wanted is None or (i.ino in wanted and not i.file_id)]
        failed = [intent for intent in pending if self._agenda.reason(intent) is not None]
        self._hurry(failed, failed_too=True)
        return len(failed) + closed

    def reason(self, intent: Intent) -> str | None:
        """Return why an intent waits, for people."""
        return self._agenda.reason(intent)

    def refusal(self, ino: int) -> RefusedError | None:
        """The service's last definite no to the inode's content."""
        return self._refusals.get(ino)

    @contextmanager
    def _waiting_for(self, ino: int) -> Iterator[None]:
        self._waited[ino] += 1
        intent = self._journal.of_inode(ino)
        if intent is not None and intent.seq in self._tickets:
            self._tickets[intent.seq].promote(Priority.CLOSE_UPLOAD)
        self._wakeup.set()
        try:
            yield
        finally:
            self._waited[ino] -= 1
            if not self._waited[ino]:
                del self._waited[ino]

    # -- work

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Dispatch until cancelled."""
        keep = self._supervisor.keep
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, "following the connection", self._follow_link)
            nursery.start_soon(keep, "turning what was uploaded into content", self._promoter.run)
            nursery.start_soon(keep, "closing files whose close failed", self._closer.run)
            nursery.start_soon(keep, "starting what is due", partial(self._dispatch, nursery))
            task_status.started()

    async def _dispatch(self, nursery: trio.Nursery) -> None:
        """Start what is due, in `nursery`, until cancelled."""
        while True:
            if self._garbage.is_waiting:
                nursery.start_soon(self._supervisor.guard, "removing bytes that were given up", self._file_bytes.sweep)
            self._deleter.resume()
            if self._connectivity.is_up:
                self._start_due(nursery)
            await self._wakeup.wait(self._agenda.next_due_s())

    async def _follow_link(self) -> None:
        while True:
            await self._connectivity.changed()
            if self._connectivity.is_up:
                self._retry_now()
            self._notify()

    def _retry_now(self) -> None:
        """The way is free again: what only waited for that goes at once."""
        pending = (intent for intent in self._journal.pending() if self._agenda.reason(intent) is not None)
        self._hurry((intent for intent in pending if intent.ino not in self._refusals), failed_too=True)

    def statistics(self) -> WritebackStatistics:
        """A record of now."""
        kinds = Counter(intent.kind for intent in self._journal.pending())
        return WritebackStatistics(
            uploads=kinds[IntentKind.UPLOAD],
            relabels=kinds[IntentKind.REUPLOAD],
            deletes=kinds[IntentKind.DELETE],
            running=len(self._running),
            failed=len(self._refusals),
        )

    def _start_due(self, nursery: trio.Nursery) -> None:
        for intent in self._choose_uploads():
            ticket = self._tickets[intent.seq] = Ticket(self._priority(intent))
            self._start(nursery, intent, partial(self._uploader.carry_out, intent, ticket))
        deleting = sum(intent.kind is IntentKind.DELETE for intent in self._running.values())
        for intent in self._agenda.due_deletes(_DELETE_WORKERS - deleting, self._running):
            self._start(nursery, intent, partial(self._deleter.carry_out, intent))

    def _choose_uploads(self) -> list[Intent]:
        """Those that somebody waits for first, then the longest due, as many as there are workers.

        A file whose upload is not over yet has to wait, though that was for an intent which is gone.
        """
        uploading = {intent.ino for intent in self._running.values() if intent.kind is not IntentKind.DELETE}
        room = self._config.upload_workers - len(uploading)
        waited = filter(self._agenda.is_due, filter(None, map(self._journal.of_inode, self._waited)))
        due = self._agenda.due_uploads(room + len(uploading), self._running) if room > 0 else []
        chosen = dict.fromkeys(intent for intent in [*waited, *due] if intent.ino not in uploading)
        return [intent for intent in chosen if not self._is_premature(intent)][: max(room, 0)]

    def _is_premature(self, intent: Intent) -> bool:
        """An empty file that is still open for writing is about to get its bytes (W10)."""
        inode = self._tree.find(intent.ino) if intent.ino is not None else None
        if inode is None or inode.size > 0 or not self._usage.is_open_for_write(inode.ino) or inode.nlink == 0:
            return False
        if self._churn.is_frozen(inode.ino):  # what is to be sent is not the empty file
            return False
        self._agenda.delay(intent, self._config.empty_grace_s)
        return True

    def _priority(self, intent: Intent) -> Priority:
        if intent.kind is IntentKind.REUPLOAD:
            return Priority.REUPLOAD
        return Priority.CLOSE_UPLOAD if intent.ino in self._waited else Priority.QUEUED_UPLOAD

    def _start(self, nursery: trio.Nursery, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        self._running[intent.seq] = intent
        self._agenda.begun(intent)
        nursery.start_soon(self._carry_out, intent, work)

    async def _carry_out(self, intent: Intent, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._clear_refusal(intent)
            self._agenda.noted(intent)
        except (RemotefsError, OSError) as error:
            self._put_off(intent, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not end the mount
            self._supervisor.note(f"{intent.kind} of {intent.file_id or intent.ino}", error)
            self._put_off(intent, error)
        finally:
            del self._running[intent.seq]
            self._tickets.pop(intent.seq, None)
            self._notify()
        if intent.ino is not None and intent.kind is not IntentKind.DELETE:
            self._promoter.want(intent.ino)

    def _put_off(self, intent: Intent, error: Exception) -> None:
        """Try again later. Invariant: it raises nothing, for behind it is the nursery of all intents."""
        first_s, most_s = _FAILED_RETRY_S if self._connectivity.reason else _REFUSED_RETRY_S
        if isinstance(error, MisansweredUpload):
            first_s, most_s = _MISANSWERED_RETRY_S
        elif not is_definite(error):
            first_s, most_s = _FAILED_RETRY_S
        elif intent.ino is not None and intent.kind is not IntentKind.DELETE and isinstance(error, RefusedError):
            self._refusals[intent.ino] = error
        delay_s = backoff_s(first_s, most_s, self._agenda.failures(intent))
        try:
            _log.warning("%s of %s waits: %s", intent.kind, self.label(intent), error)
            if self._journal.find(intent.seq) is not None:
                self._journal.failed(intent.seq, str(error), due_ns=self._clock() + int(delay_s * _NS))
        except Exception as trouble:  # noqa: BLE001 - see above
            # It lies on the disk that is full, or fails.
            self._agenda.failed(intent, delay_s, f"{error}; {trouble}")
            self._supervisor.note("noting a failure in the journal", trouble)
        else:
            self._agenda.noted(intent)

    def _clear_refusal(self, intent: Intent) -> None:
        if intent.ino is not None and intent.kind is not IntentKind.DELETE:
            self._refusals.pop(intent.ino, None)

    def label(self, intent: Intent) -> str:
        """What an intent is about, for people: a path, or else an id."""
        inode: Inode | None = self._tree.find(intent.ino) if intent.ino is not None else None
        return (self._paths.path(inode) if inode else None) or intent.file_id or f"inode {intent.ino}"

    def _notify(self) -> None:
        self._progress.set()
        self._progress = trio.Event()
        self._wakeup.set()
