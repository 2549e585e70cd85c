"""Ids that a download found missing: readers report them, and the refresh asks the service for each (S4)."""

from __future__ import annotations

from remotefs.wakeup import Wakeup


class ReportedMissing:
    """The reported ids; each report wakes the refresh."""

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._file_ids: set[str] = set()

    def report(self, file_id: str) -> None:
        """Note that the service answered a download with 404."""
        self._file_ids.add(file_id)
        self._wakeup.set()

    def take(self) -> set[str]:
        """Return the ids that were reported since the last call, and forget them."""
        taken, self._file_ids = self._file_ids, set()
        return taken

    def __len__(self) -> int:
        return len(self._file_ids)
