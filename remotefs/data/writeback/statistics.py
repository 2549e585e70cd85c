"""The numbers of pending, running and refused changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from remotefs.store.records import IntentKind


@dataclass(frozen=True)
class WritebackStatistics:
    """The intents in the journal by kind, how many of them are running, and how many files the service refused."""

    uploads: int
    reuploads: int
    deletes: int
    running: int
    failed: int

    @classmethod
    def of(cls, counts: Mapping[IntentKind, int], *, running: int, failed: int) -> WritebackStatistics:
        """Return the numbers of intents by kind, where `counts` has those that are not zero."""
        uploads, reuploads, deletes = (
            counts.get(kind, 0) for kind in (IntentKind.UPLOAD, IntentKind.REUPLOAD, IntentKind.DELETE)
        )
        return cls(uploads, reuploads, deletes, running, failed)
