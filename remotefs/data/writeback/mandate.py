"""The intents that a run may carry out: all of them in a mount, fewer in a command without one (S3)."""

from __future__ import annotations

from remotefs.store.journal import Journal
from remotefs.store.records import Intent, IntentKind


class Mandate:
    """Decides which intents are carried out. A command without a mount sends files; it takes nothing else away.

    What an upload has replaced still goes (W5): that is a DELETE with an inode. So does what follows from the command
    itself: those intents are newer than its start.
    """

    def __init__(self) -> None:
        # The newest intent at the start of a run that leaves earlier removals alone; None for a run that does all.
        self._start: int | None = None
        self._left_alone = 0

    @property
    def left_alone(self) -> int:
        """Return the number of intents that were there at the start and are left to the next mount."""
        return self._left_alone

    def leave_removals(self, journal: Journal) -> None:
        """Leave the removals and renames that the journal has now to the next mount."""
        self._start = journal.newest()
        self._left_alone = sum(not self.covers(intent) for intent in journal.pending())

    def covers(self, intent: Intent) -> bool:
        """Return whether the run may carry an intent out."""
        if self._start is None or intent.seq > self._start or intent.kind is IntentKind.UPLOAD:
            return True
        return intent.kind is IntentKind.DELETE and intent.ino is not None
