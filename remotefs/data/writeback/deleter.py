"""The one place that sends DELETE. A delete is final, so one pure decision stands before each (S3, S5).

The decision is made when the intent is due, and again whenever a request is about to go out: before that lie a sync,
the wait for the budget, the connection and the pauses between retries, and much may happen in each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from remotefs import crashpoints
from remotefs.api.budget import Priority
from remotefs.api.connectivity import Connectivity
from remotefs.api.protocols import FileDeleter
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.left_behind import LeftBehind
from remotefs.data.kernel import Usage, is_referred
from remotefs.errors import RemoteNotFound
from remotefs.store.records import NEVER_NS, Intent, Origin
from remotefs.store.store import Store

_NS = 1_000_000_000


class Verdict(Enum):
    """What to do with a DELETE."""

    SEND = "send"
    WAIT = "wait"
    DROP = "drop"


@dataclass(frozen=True)
class DeletionFacts:
    """Everything that the decision may look at."""

    # Replies have shown that it is the account of the state folder, and no other since (S1).
    account_trusted: bool
    known: bool
    origin: Origin
    # The user unlinked, replaced or named it here.
    tombstoned: bool
    # A path or an open handle here refers to it.
    referred: bool
    # A write handle of what replaces it is open; or a file beneath a renamed folder may replace it (W5).
    replacement_open: bool


def decide(facts: DeletionFacts) -> Verdict:
    """Decide on a DELETE by S3 and S5: only an id of ours or one that the user gave up, and only when unused here."""
    if not facts.known or facts.referred:
        return Verdict.DROP
    if facts.origin != Origin.OURS and not facts.tombstoned:
        return Verdict.DROP
    if not facts.account_trusted or facts.replacement_open:
        return Verdict.WAIT
    return Verdict.SEND


class _NotWanted(Exception):
    """A DELETE that was about to go out is not to be sent any more."""


class RemoteDeleter:
    """Carries DELETE intents out."""

    def __init__(
        self,
        store: Store,
        client: FileDeleter,
        connectivity: Connectivity,
        usage: Usage,
        in_flight: UploadsInFlight,
        left_behind: LeftBehind,
        clock: Callable[[], int],
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._renames = store.renames
        self._client = client
        self._connectivity = connectivity
        self._usage = usage
        self._in_flight = in_flight
        self._left_behind = left_behind
        self._clock = clock
        # Inodes whose open write handles hold DELETEs back; the journal gives those the due time NEVER_NS.
        self._holding: set[int] = set()

    def facts(self, intent: Intent) -> DeletionFacts:
        """Return what is known now about the id of a DELETE."""
        assert intent.file_id is not None
        remote = self._remotes.find(intent.file_id)
        return DeletionFacts(
            account_trusted=self._connectivity.is_trusted,
            known=remote is not None,
            origin=Origin(remote.origin) if remote else Origin.FOREIGN,
            tombstoned=bool(remote and remote.tombstoned),
            referred=is_referred(intent.file_id, self._tree, self._usage),
            replacement_open=self._renames.first() is not None
            or self._left_behind.may_succeed(intent)
            or (intent.ino is not None and self._usage.is_open_for_write(intent.ino)),
        )

    async def carry_out(self, intent: Intent) -> None:
        """Send a DELETE, let it wait, or drop it, as decide() says. Raises RefusedError, TransportError; it stays."""
        assert intent.file_id is not None
        if self._journal.find(intent.seq) is None:
            return
        verdict = decide(self.facts(intent))
        if verdict is Verdict.DROP:
            self._journal.remove(intent.seq)
        elif verdict is Verdict.WAIT:
            self._hold(intent)
        else:
            await self._send(intent, intent.file_id)

    def resume(self) -> None:
        """Make DELETEs due whose write handles are closed by now; cheap if none is held back."""
        for ino in [ino for ino in self._holding if not self._usage.is_open_for_write(ino)]:
            self._journal.resume_deletes(ino, due_ns=self._clock())
            self._holding.discard(ino)

    def _hold(self, intent: Intent) -> None:
        if intent.ino is not None and self._usage.is_open_for_write(intent.ino):
            # Not by a short delay: a file that is open for days may hold back thousands of ids.
            self._journal.reschedule(intent.seq, due_ns=NEVER_NS)
            self._holding.add(intent.ino)
        else:
            self._journal.reschedule(intent.seq, due_ns=self._clock() + _NS)

    async def _send(self, intent: Intent, file_id: str) -> None:
        # The intent itself is the record of the attempt: sent twice, the second answer is 404, which is as good.
        await self._db.durable()
        if not self._is_wanted(intent):
            # During the sync a new upload has taken the id over (W5), or something refers to it again.
            return
        crashpoints.reached("delete: it is decided", file_id)
        try:
            await self._connectivity.watch(lambda: self._request(intent, file_id))
        except _NotWanted:
            # Its row, if there still is one, is looked at again.
            return
        except RemoteNotFound:
            pass
        crashpoints.reached("delete: the service has forgotten it", file_id)
        # The row of the remote file stays as a tombstone, because the service may list the file for a while.
        self._journal.remove(intent.seq)

    async def _request(self, intent: Intent, file_id: str) -> None:
        """Send the request as long as it is wanted. Raises _NotWanted, and as `FileDeleter.delete` does."""
        with ExitStack() as under_way:

            def decide_again() -> None:
                if not self._is_wanted(intent):
                    raise _NotWanted
                # Only from here on it is too late for a successor to take the id over.
                if not self._in_flight.is_deleting(file_id):
                    under_way.enter_context(self._in_flight.delete(file_id))

            await self._client.delete(file_id, priority=Priority.DELETE, before_sending=decide_again)

    def _is_wanted(self, intent: Intent) -> bool:
        return self._journal.find(intent.seq) is not None and decide(self.facts(intent)) is Verdict.SEND
