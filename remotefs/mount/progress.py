"""Counts how far a run through many files is."""

from __future__ import annotations

from remotefs.control.messages.base import Report, Warming


class Count:
    """The files and bytes of a run that are done, those that failed too; each change is reported."""

    def __init__(self, size: int, files: int, report: Report, *, size_done: int = 0, files_done: int = 0) -> None:
        self._bytes, self._files = size, files
        self._bytes_done, self._files_done = size_done, files_done
        self._report = report

    def add(self, size: int) -> None:
        """Count bytes."""
        self._bytes_done += size
        self.underway()

    def done(self, size: int = 0) -> None:
        """Count a file, and bytes of it that `add` has not counted."""
        self._files_done += 1
        self.add(size)

    def underway(self, size: int = 0) -> None:
        """Report what is done, and bytes of files that are not done yet."""
        done = self._bytes_done + size
        size = max(self._bytes, done)
        self._report(Warming(files_done=self._files_done, files=self._files, bytes_done=done, bytes=size))
