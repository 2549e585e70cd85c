"""The times at which intents become due: grace times of new intents, and those of an earlier run.

A due time is nanoseconds since the epoch by `clock`, which no one sets (`SteadyClock`); NEVER_NS waits for an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from remotefs.backoff import backoff_s
from remotefs.config import WritebackConfig
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.paths import InodePaths
from remotefs.store.journal import Journal
from remotefs.store.records import NEVER_NS, Inode, Intent, IntentKind

_NS = 1_000_000_000
# A change that the service refused is tried again at least once an hour.
REFUSED_LONGEST_S = 3600.0


class DueTimes:
    """Calculates when an intent is due; keeps no state of its own."""

    def __init__(self, paths: InodePaths, config: WritebackConfig, churn: Churn, clock: Callable[[], int]) -> None:
        self._paths = paths
        self._config = config
        self._churn = churn
        self._clock = clock

    def now(self) -> int:
        """Return the due time of an intent that waits for nothing."""
        return self._clock()

    def of_upload(self, inode: Inode) -> int:
        """Return when the upload of a closed file is due: the rest of the wait that began with its last close."""
        delay_ns = self._delay_ns(inode)
        # Bounded on both sides, because the wall clock may have been set since the close.
        left_ns = min(max(delay_ns - (time.time_ns() - inode.closed_ns), 0), delay_ns)
        return self._clock() + left_ns

    def of_reupload(self) -> int:
        """Return when a re-upload is due that a rename asks for now."""
        return self._clock() + int(self._config.reupload_wait_s * _NS)

    def of_delete(self, *, is_replaced: bool) -> int:
        """Return when the DELETE of an id is due that is freed now; at once if its replacement is confirmed."""
        return self._clock() + (0 if is_replaced else int(self._config.delete_wait_s * _NS))

    def after_write(self, intent: Intent) -> int:
        """Return the due time of a file's upload once the file is written again.

        The next close makes it due; but a frozen version goes up whatever is written, and after a failure at its time.
        """
        if intent.ino is None or not self._churn.is_frozen(intent.ino):
            return NEVER_NS
        return self._clock() if intent.reason is None else intent.due_ns

    def is_retrying(self, intent: Intent | None) -> bool:
        """Return whether a frozen version failed to go up: another close is no reason to try again sooner."""
        return intent is not None and intent.reason is not None and self._churn.is_frozen(intent.ino or 0)

    def is_put_off(self, intent: Intent, due_ns: int) -> bool:
        """Return whether an intent that was due at `due_ns` has got a later time since, which has not come yet."""
        return intent.due_ns > max(due_ns, self._clock())

    def after_damage(self) -> int:
        """Return when an upload whose bytes are damaged is looked at again."""
        return self._clock() + int(REFUSED_LONGEST_S * _NS)

    def adopt(self, journal: Journal) -> None:
        """Take over the intents of an earlier run, whose due times another clock gave, maybe a wrong one.

        No intent waits longer than if it had been scheduled, had failed or had been refused, just now. A DELETE that a
        write handle held back is due, because no handle of the earlier run is open any more.
        """
        waits = self._config
        longest_s = max(
            waits.upload_delay_s,
            waits.empty_grace_s,
            waits.temporary_grace_s,
            waits.reupload_wait_s,
            waits.delete_wait_s,
        )
        now = self._clock()
        for intent in journal.pending():
            wait_s = longest_s
            if intent.reason is not None:
                is_refused = intent.refused is not None
                wait_s = REFUSED_LONGEST_S if is_refused else backoff_s(1.0, REFUSED_LONGEST_S, intent.tries)
            latest_ns = now + int(wait_s * _NS)
            if latest_ns < intent.due_ns and (intent.due_ns < NEVER_NS or intent.kind is IntentKind.DELETE):
                journal.reschedule(intent.seq, due_ns=latest_ns)

    def _delay_ns(self, inode: Inode) -> int:
        if self._paths.is_temporary(inode):
            return int(self._config.temporary_grace_s * _NS)
        if inode.size == 0:
            return int(self._config.empty_grace_s * _NS)
        delay_s = self._config.upload_delay_s if self._config.durability == "local" else 0.0
        return int(max(delay_s, self._churn.delay_s(inode.ino)) * _NS)
