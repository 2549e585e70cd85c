"""The numbers of pending, running and refused changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from remotefs.store.records import Intent, IntentKind


@dataclass(frozen=True)
class WritebackStatistics:
    """The intents in the journal by kind, how many of them are running, and how many files the service refused."""

    uploads: int
    reuploads: int
    deletes: int
    running: int
    failed: int

    @classmethod
    def of(cls, pending: Iterable[Intent], *, running: int, failed: int) -> WritebackStatistics:
        """Count the pending intents by kind."""
        kinds = Counter(intent.kind for intent in pending)
        return cls(kinds[IntentKind.UPLOAD], kinds[IntentKind.REUPLOAD], kinds[IntentKind.DELETE], running, failed)
