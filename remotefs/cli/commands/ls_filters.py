"""Chooses files of a listing and counts them: pure.

Ages are by the time at which the service made the file, by its clock; of a file that it does not have yet, by the time
of the last change here.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from remotefs.api.usable import NOT_THERE, Look, Use, essence, use_of
from remotefs.cli.console import human_duration, human_files, human_size
from remotefs.cli.listing import Listed
from remotefs.control.messages.ls import ListedFile

NS = 1_000_000_000


def age_s(listed: Listed) -> float:
    """Return the age of a file in seconds, at least 0."""
    file = listed.file
    born_ns = file.modified_ns if file.created_ns is None else file.created_ns
    return max(0.0, (listed.now_ns - born_ns) / NS)


def left_s(listed: Listed) -> float | None:
    """Return the seconds until a file expires, at least 0; None where it does not expire."""
    expires_ns = listed.file.expires_ns
    return None if expires_ns is None else max(0.0, (expires_ns - listed.now_ns) / NS)


def is_only_here(file: ListedFile) -> bool:
    """Return whether the bytes of a file can be read on this machine and nowhere else."""
    return file.here and not file.downloadable


def use_as(listed: Listed, look: Look | None = None) -> Use:
    """Return what a model can use a file as."""
    file = listed.file
    if file.file_id is None or file.mime_type is None:
        return NOT_THERE
    return use_of(file.mime_type, file.size, is_expired=left_s(listed) == 0.0, look=look)


@dataclass(frozen=True, kw_only=True)
class Filter:
    """The files that are asked for: those for which all conditions hold. Times are in seconds."""

    generated: bool = False
    unreadable: bool = False
    since_s: float | None = None
    older_s: float | None = None
    expires_within_s: float | None = None
    type_pattern: str | None = None

    def takes(self, listed: Listed) -> bool:
        """Return whether a file is asked for."""
        file, age, left = listed.file, age_s(listed), left_s(listed)
        return (
            (file.generated or not self.generated)
            and (not file.readable or not self.unreadable)
            and (self.since_s is None or age <= self.since_s)
            and (self.older_s is None or age > self.older_s)
            and (self.expires_within_s is None or (left is not None and left <= self.expires_within_s))
            and (self.type_pattern is None or is_of_type(file.mime_type, self.type_pattern))
        )


def is_of_type(mime_type: str | None, pattern: str) -> bool:
    """Return whether a type matches a shell pattern such as `image/*`.

    A pattern without `/` is that of either half: `pdf` and `image` will do.
    """
    if mime_type is None:
        return False
    kind, pattern = essence(mime_type), pattern.lower()
    halves = [kind] if "/" in pattern else kind.split("/")
    return any(fnmatchcase(half, pattern) for half in halves)


class Summary:
    """Counts files and bytes: of all, of those at the service, and of those that only this machine can read."""

    def __init__(self, soon_s: float) -> None:
        self._soon_s = soon_s
        self._files = self._bytes = 0
        self._remote_files = self._remote_bytes = 0
        self._only_here_files = self._only_here_bytes = 0
        self._unreadable = self._expiring = 0

    def add(self, listed: Listed) -> None:
        """Count a file."""
        file, left = listed.file, left_s(listed)
        is_remote, is_sole = file.file_id is not None, is_only_here(file)
        self._files += 1
        self._bytes += file.size
        self._remote_files += is_remote
        self._remote_bytes += file.size * is_remote
        self._only_here_files += is_sole
        self._only_here_bytes += file.size * is_sole
        self._unreadable += not file.readable
        self._expiring += left is not None and left <= self._soon_s

    def __str__(self) -> str:
        parts = [
            _count(self._files, self._bytes),
            f"at the service {_count(self._remote_files, self._remote_bytes)}",
            f"readable only here {_count(self._only_here_files, self._only_here_bytes)}",
        ]
        if self._unreadable:
            parts.append(f"not readable here {self._unreadable:,}")
        if self._expiring:
            parts.append(f"expiring within {human_duration(self._soon_s)} {self._expiring:,}")
        return "; ".join(parts)


def _count(files: int, size: int) -> str:
    return f"{human_files(files)}, {human_size(size)}"
