"""Ids that a download found missing: whoever reads reports them, the refresh looks for them (S4)."""

from __future__ import annotations

from remotefs.wakeup import Wakeup


class ReportedMissing:
    """A set that rings when something is put into it."""

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._file_ids: set[str] = set()

    def report(self, file_id: str) -> None:
        """The service said that it has no such file."""
        self._file_ids.add(file_id)
        self._wakeup.set()

    def take(self) -> set[str]:
        """All that were reported since the last call."""
        taken, self._file_ids = self._file_ids, set()
        return taken

    def __len__(self) -> int:
        return len(self._file_ids)
