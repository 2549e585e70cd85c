"""The bytes of a store: one file an id, written aside and made visible by rename.

    ROOT/incoming/<id>    being written; its writer holds a flock on it
    ROOT/files/<id>       whole and on the disk

A file without a row is a leftover of a killed process, unless its writer still holds the lock: the lock goes with the
file through the rename and is let go after the row was committed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

# Linux takes at most this many pieces in one writev.
_IOV_MAX = 1024


class Blobs:
    """The two folders."""

    def __init__(self, root: Path) -> None:
        self._incoming = root / "incoming"
        self._files = root / "files"
        for folder in (self._incoming, self._files):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, file_id: str) -> Arrival:
        """A new file to write to."""
        return Arrival(self._incoming / file_id, self._files / file_id)

    def open(self, file_id: str) -> int:
        """A descriptor to read from. Raises FileNotFoundError."""
        return os.open(self._files / file_id, os.O_RDONLY | os.O_CLOEXEC)

    def remove(self, file_id: str) -> None:
        """Free the bytes; whoever has them open reads on."""
        (self._files / file_id).unlink(missing_ok=True)

    def remove_abandoned(self, file_id: str, unused: Callable[[str], bool]) -> bool:
        """Free what a killed writer left; False when its writer lives or `unused` says that it has a row by now."""
        removed = [_remove_unless_held(folder / file_id, unused) for folder in (self._incoming, self._files)]
        return any(removed)

    def ids(self, batch: int) -> Iterator[Sequence[str]]:
        """The names in both folders, `batch` at a time."""
        for folder in (self._incoming, self._files):
            with os.scandir(folder) as entries:
                while names := [entry.name for entry in islice(entries, batch)]:
                    yield names


class Arrival:
    """A file on its way in. A context manager: leaving it without `publish` removes the file."""

    def __init__(self, incoming: Path, final: Path) -> None:
        self._path = incoming
        self._final = final
        self.id = final.name
        self.size_bytes = 0
        self._fd = _create_locked(incoming)

    def __enter__(self) -> Arrival:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append `pieces`. Blocks."""
        left = [memoryview(piece) for piece in pieces if len(piece)]
        while left:
            written = os.writev(self._fd, left[:_IOV_MAX])
            self.size_bytes += written
            left = _after(left, written)

    def publish(self) -> None:
        """Bring the bytes to the disk and the file to its final name. Blocks."""
        os.fdatasync(self._fd)
        self._path.rename(self._final)
        _sync_folder(self._final.parent)

    def withdraw(self) -> None:
        """Undo `publish`, for a row that was refused."""
        self._final.unlink(missing_ok=True)


def _create_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # A sweep may have had the lock, and removed the file, between the two calls.
        if path.exists():
            return fd
        os.close(fd)


def _after(pieces: list[memoryview], count: int) -> list[memoryview]:
    for position, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[position + 1 :]]
        count -= len(piece)
    return []


def _remove_unless_held(path: Path, unused: Callable[[str], bool]) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Asked under the lock: its writer may have committed the row just before it let the lock go.
        removed = unused(path.name)
        if removed:
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return removed


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
