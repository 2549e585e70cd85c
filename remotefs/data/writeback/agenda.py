"""The intents that are due now: by the times in the journal, except where this run of the mount knows better.

Due times in the journal are rows, and a full disk takes no rows. So two things are kept in memory and are gone after a
restart: the intents that are hurried because somebody waits for them, and those that are delayed because the journal
could not record their failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from remotefs.data.writeback.mandate import Mandate
from remotefs.store.journal import Journal
from remotefs.store.records import NEVER_NS, Intent, IntentKind

_NS = 1_000_000_000
# The longest sleep until a due time: the clock of trio stands still while the machine is suspended.
_LONGEST_PAUSE_S = 60.0
# With more delays than this, and then with twice as many as were left, those of intents that are gone are dropped.
_MANY = 1000


class _Delay(NamedTuple):
    """A delay after `failures` in a row; with 0 it is not a failure, and ends when the intent gets another due time."""

    until_ns: int
    reason: str | None
    failures: int
    due_ns: int

    def holds(self, intent: Intent, now_ns: int) -> bool:
        """Return whether the intent still has to wait."""
        return self.until_ns > now_ns and (self.failures > 0 or self.due_ns == intent.due_ns)


class Agenda:
    """Owns hurry and delays. `clock` gives the time that due times refer to, in ns since the epoch.

    What `mandate` does not cover is never due.
    """

    def __init__(self, journal: Journal, clock: Callable[[], int], mandate: Mandate | None = None) -> None:
        self._journal = journal
        self._clock = clock
        self._mandate = mandate or Mandate()
        # DELETEs (True) apart from uploads. The inner dicts are ordered sets: their values mean nothing.
        self._hurried: dict[bool, dict[int, None]] = {False: {}, True: {}}
        self._delayed: dict[int, _Delay] = {}
        self._most_delayed = _MANY

    def now_ns(self) -> int:
        """Return the time of now, by the clock of the due times."""
        return self._clock()

    def due_uploads(self, limit: int, running: Mapping[int, Intent]) -> list[Intent]:
        """Return at most `limit` UPLOADs and REUPLOADs that are due, hurried ones first, and none of `running`."""
        return self._due(limit, running, self._journal.due_uploads, deletes=False)

    def due_deletes(self, limit: int, running: Mapping[int, Intent]) -> list[Intent]:
        """Return at most `limit` DELETEs, as `due_uploads` does."""
        return self._due(limit, running, self._journal.due_deletes, deletes=True)

    def is_due(self, intent: Intent) -> bool:
        """Return whether an intent's time has come."""
        if intent.due_ns >= NEVER_NS or self._is_delayed(intent) or not self._mandate.covers(intent):
            return False
        return intent.seq in self._hurried[_is_delete(intent)] or intent.due_ns <= self._clock()

    def waits(self, intent: Intent) -> bool:
        """Return whether an intent waits for its time; `hurry` makes it due at once."""
        return intent.due_ns < NEVER_NS and not self.is_due(intent)

    def hurry(self, intents: Iterable[Intent]) -> None:
        """Make intents due now, whatever the journal says, until they have begun once."""
        for intent in intents:
            self._hurried[_is_delete(intent)][intent.seq] = None
            self._delayed.pop(intent.seq, None)

    def hurry_waiting(self, intents: Iterable[Intent], *, failed_too: bool = False) -> None:
        """Let those be due now that only wait for their time; with `failed_too` also those that failed."""
        waiting = filter(self.waits, intents)
        self.hurry(intent for intent in waiting if failed_too or self.reason(intent) is None)

    def hurry_delayed(self, *, failed_too: bool = False) -> None:
        """Let those of the delayed intents be due now that `hurry_waiting` would."""
        self.hurry_waiting(filter(None, map(self._journal.find, list(self._delayed))), failed_too=failed_too)

    def begun(self, intent: Intent) -> None:
        """Forget the hurry of an intent: it begins."""
        self._hurried[_is_delete(intent)].pop(intent.seq, None)

    def noted(self, intent: Intent) -> None:
        """Forget the delay of an intent: it was carried out, or the journal records how it failed."""
        self._delayed.pop(intent.seq, None)

    def delay(self, intent: Intent, delay_s: float) -> None:
        """Delay an intent in this run for a reason that is not a failure, or until it gets another due time."""
        self._delayed[intent.seq] = _Delay(self._clock() + int(delay_s * _NS), None, 0, intent.due_ns)

    def failures(self, intent: Intent) -> int:
        """Return the number of failures in a row, as far as the journal or this run knows."""
        delayed = self._delayed.get(intent.seq)
        return max(intent.tries, delayed.failures if delayed else 0)

    def failed(self, intent: Intent, delay_s: float, reason: str) -> None:
        """Delay an intent in this run because it failed and the journal cannot record that; `reason` is for people."""
        until_ns = self._clock() + int(delay_s * _NS)
        self._delayed[intent.seq] = _Delay(until_ns, reason, self.failures(intent) + 1, intent.due_ns)
        if len(self._delayed) > self._most_delayed:
            self._delayed = {seq: delay for seq, delay in self._delayed.items() if self._journal.find(seq) is not None}
            self._most_delayed = max(_MANY, 2 * len(self._delayed))

    def reason(self, intent: Intent) -> str | None:
        """Return why an intent waits, for people; None if it only waits for its time."""
        delayed = self._delayed.get(intent.seq)
        return (delayed.reason if delayed else None) or intent.reason

    def failed_unrecorded(self) -> list[Intent]:
        """Return the intents whose failure the journal could not record."""
        failed = (self._journal.find(seq) for seq, delay in self._delayed.items() if delay.reason is not None)
        return [intent for intent in failed if intent is not None]

    def next_due_s(self) -> float:
        """Return the seconds until an intent becomes due, from 0 to a minute."""
        now = self._clock()
        journal_ns = self._journal.next_due_ns(now)
        times = [delay.until_ns for delay in self._delayed.values() if delay.until_ns > now]
        soonest_ns = min([*times, *([] if journal_ns is None else [journal_ns])], default=NEVER_NS)
        return min(max(soonest_ns - now, 0) / _NS, _LONGEST_PAUSE_S)

    def _due(
        self,
        limit: int,
        running: Mapping[int, Intent],
        journal_due: Callable[[int, int], list[Intent]],
        *,
        deletes: bool,
    ) -> list[Intent]:
        if limit <= 0:
            return []
        # Intents that run, that are delayed or that the mandate leaves alone may stand first in the journal.
        found = journal_due(self._clock(), limit + len(running) + len(self._delayed) + self._mandate.left_alone)
        candidates = [*islice(self._first_hurried(running, deletes=deletes), limit), *found]
        chosen = dict.fromkeys(intent for intent in candidates if intent.seq not in running and self.is_due(intent))
        return list(chosen)[:limit]

    def _first_hurried(self, running: Mapping[int, Intent], *, deletes: bool) -> Iterator[Intent]:
        for seq in list(self._hurried[deletes]):
            intent = self._journal.find(seq)
            if intent is None or intent.due_ns >= NEVER_NS:
                del self._hurried[deletes][seq]  # carried out, or written again: its next close makes it due
            elif seq not in running and self.is_due(intent):
                yield intent

    def _is_delayed(self, intent: Intent) -> bool:
        delayed = self._delayed.get(intent.seq)
        return delayed is not None and delayed.holds(intent, self._clock())


def _is_delete(intent: Intent) -> bool:
    return intent.kind is IntentKind.DELETE
