"""Intents that failed: when each is tried again, and why, for people.

A failure puts the intent off and keeps it: no change that was acknowledged is ever lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice

from remotefs.api.connectivity import Connectivity
from remotefs.backoff import backoff_s
from remotefs.data.intents.due_times import REFUSED_LONGEST_S
from remotefs.data.intents.paths import InodePaths
from remotefs.data.writeback.agenda import Agenda
from remotefs.errors import (
    CorruptionError,
    KeyReplaced,
    LocalError,
    MisansweredUpload,
    RateLimited,
    RefusedError,
    SpendCapReached,
    UnclearListing,
)
from remotefs.store.journal import Journal
from remotefs.store.records import Intent, IntentKind
from remotefs.supervision import Supervisor

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# The first pause, and the longest to which it is doubled. A refusal does not go away by asking every second.
_REFUSED_RETRY_S = (60.0, REFUSED_LONGEST_S)
_FAILED_RETRY_S = (1.0, 60.0)
# A reply about another file, or a listing in which it cannot be found: it is looked for soon and then ever more rarely,
# as each time takes several requests, or may make a copy.
_MISANSWERED_RETRY_S = (1.0, 3600.0)
# Damaged bytes are read again each time, and are never sent: only a person can do something about them.
_DAMAGED_RETRY_S = (3600.0, 3600.0)
# With each refusal so many of the oldest are looked at, more than come: those of removed files do not pile up.
_LOOKED_AT = 2


class Failures:
    """Owns the refusals; writes them and other failures to the journal, or to the agenda if that fails."""

    def __init__(
        self,
        journal: Journal,
        paths: InodePaths,
        agenda: Agenda,
        connectivity: Connectivity,
        clock: Callable[[], int],
        supervisor: Supervisor,
    ) -> None:
        self._journal = journal
        self._paths = paths
        self._agenda = agenda
        self._connectivity = connectivity
        self._clock = clock
        self._supervisor = supervisor
        # By inode, since its content was last closed.
        self._refusals: dict[int, RefusedError] = {}
        for intent in journal.refused():
            assert intent.ino is not None
            assert intent.reason is not None
            assert intent.refused is not None
            self._refusals[intent.ino] = RefusedError(intent.reason, status=intent.refused)

    def reason(self, intent: Intent) -> str | None:
        """Return why an intent waits, for people; None if it only waits for its time."""
        return self._agenda.reason(intent)

    def failed(self, at_most: int) -> list[Intent]:
        """Return at most `at_most` intents that wait because they failed, the oldest first."""
        found = {i.seq: i for i in [*self._journal.with_reason(at_most), *self._agenda.failed_unrecorded()]}
        return [found[seq] for seq in sorted(found)[:at_most]]

    def refusal(self, ino: int) -> RefusedError | None:
        """Return the service's last definite refusal of the inode's content."""
        return self._refusals.get(ino)

    def forget_refusal(self, ino: int) -> None:
        """Forget the refusal of an inode: other content was closed since."""
        if self._refusals.pop(ino, None) is None:
            return
        try:
            self._journal.forget_refusal(ino)
        except LocalError as error:
            _log.warning("the next mount takes inode %d for refused: %s", ino, error)

    @property
    def refused_count(self) -> int:
        """Return the number of inodes whose content the service refused."""
        return len(self._refusals)

    def clear(self, intent: Intent) -> None:
        """Forget how an intent failed before: it was carried out."""
        if _is_upload(intent) and intent.ino is not None:
            self.forget_refusal(intent.ino)
        self._agenda.noted(intent)

    def put_off(self, intent: Intent, error: Exception) -> None:
        """Let an intent that failed be tried again later.

        Invariant: it raises nothing, because an exception would end the nursery in which all intents run.
        """
        first_s, longest_s = self._pauses(error)
        refused: int | None = None
        if _is_upload(intent) and intent.ino is not None and isinstance(error, RefusedError) and _is_refusal(error):
            # Without its traceback, whose frames hold the bytes and the reply of the request.
            self._refusals[intent.ino] = error.with_traceback(None)
            refused = error.status
        delay_s = backoff_s(first_s, longest_s, self._agenda.failures(intent))
        try:
            _log.warning("%s of %s waits: %s", intent.kind, self._paths.describe(intent), error)
            if self._journal.find(intent.seq) is not None:
                due_ns = self._clock() + int(delay_s * _NS)
                self._journal.failed(intent.seq, str(error), due_ns=due_ns, refused=refused)
            if refused is not None:
                self._forget_removed()
        except Exception as trouble:  # noqa: BLE001 - see above
            # The journal lies on the disk that is full, or fails.
            self._agenda.failed(intent, delay_s, f"{error}; {trouble}")
            self._supervisor.note("noting a failure in the journal", trouble)
        else:
            self._agenda.noted(intent)

    def _forget_removed(self) -> None:
        """Forget the oldest refusals if their files have been removed; look at the others again after all the rest."""
        for ino in list(islice(self._refusals, _LOOKED_AT)):
            refusal = self._refusals.pop(ino)
            if self._journal.of_inode(ino) is not None:
                self._refusals[ino] = refusal

    def _pauses(self, error: Exception) -> tuple[float, float]:
        if isinstance(error, MisansweredUpload | UnclearListing):
            return _MISANSWERED_RETRY_S
        if isinstance(error, CorruptionError):
            return _DAMAGED_RETRY_S
        return _REFUSED_RETRY_S if is_definite(error) and not self._connectivity.reason else _FAILED_RETRY_S


def is_definite(error: Exception) -> bool:
    """Return whether the service refused this very request, so that asking again soon changes nothing."""
    if isinstance(error, SpendCapReached):
        return True
    return isinstance(error, RefusedError) and error.status < 500 and not isinstance(error, RateLimited | KeyReplaced)


def _is_refusal(error: RefusedError) -> bool:
    return is_definite(error) and not isinstance(error, MisansweredUpload)


def _is_upload(intent: Intent) -> bool:
    return intent.ino is not None and intent.kind is not IntentKind.DELETE
