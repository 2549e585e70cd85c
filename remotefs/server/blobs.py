"""The bytes of a store: one file for each id, written in a side folder and made visible by rename.

    ROOT/incoming/<id>    being written; its writer holds a flock on it
    ROOT/files/<id>       complete and on the disk

    writer    create + lock ─► write ─► fdatasync ─► rename ─► row is committed ─► unlock
    sweep     a file without a row: try the lock ─► refused: its writer lives ─► leave it
                                                └─► got it, still no row: a leftover ─► remove it

A file without a row is either on its way in, or the leftover of a killed process. The lock tells which: a flock belongs
to the open file, so it survives the rename, and the kernel releases it when its process dies.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

# IOV_MAX: Linux takes at most this many pieces in one writev.
_IOV_MAX = 1024


class Blobs:
    """The two folders, which are made if they do not exist."""

    def __init__(self, root: Path) -> None:
        self._incoming = root / "incoming"
        self._files = root / "files"
        for folder in (self._incoming, self._files):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def begin(self, file_id: str) -> Arrival:
        """Return a new file to write to, in `incoming`."""
        return Arrival(self._incoming / file_id, self._files / file_id)

    def open(self, file_id: str) -> int:
        """Return a descriptor for reading, which the caller closes. Raises FileNotFoundError."""
        return os.open(self._files / file_id, os.O_RDONLY | os.O_CLOEXEC)

    def remove(self, file_id: str) -> None:
        """Remove the bytes. Downloads that have them open are not affected."""
        (self._files / file_id).unlink(missing_ok=True)

    def remove_abandoned(self, file_id: str, unused: Callable[[str], bool]) -> bool:
        """Remove the file that a killed writer left, and return whether there was one.

        The file stays if its writer still holds the lock, or if `unused` returns False: the id has a row by now.
        """
        removed = [_remove_unless_held(folder / file_id, unused) for folder in (self._incoming, self._files)]
        return any(removed)

    def ids(self, batch: int) -> Iterator[Sequence[str]]:
        """Yield the ids in both folders, at most `batch` at a time."""
        for folder in (self._incoming, self._files):
            with os.scandir(folder) as entries:
                while names := [entry.name for entry in islice(entries, batch)]:
                    yield names


class Arrival:
    """A file on its way in: a context manager that removes the file at its end, unless it was published."""

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
        # After `publish` the file has its final name, and there is nothing to unlink here. Closing releases the lock.
        self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Append `pieces` to the file. Blocks."""
        left = [memoryview(piece) for piece in pieces if len(piece)]
        while left:
            written = os.writev(self._fd, left[:_IOV_MAX])
            self.size_bytes += written
            left = _after(left, written)

    def publish(self) -> None:
        """Sync the bytes and move the file to its final name. Blocks until both survive a power cut."""
        os.fdatasync(self._fd)
        self._path.rename(self._final)
        _sync_folder(self._final.parent)

    def withdraw(self) -> None:
        """Undo `publish`, because the row was refused."""
        self._final.unlink(missing_ok=True)


def _create_locked(path: Path) -> int:
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX)
        # Between the two calls a sweep may have taken the lock and removed the file: then this lock protects nothing.
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
        # The rows are read under the lock: the writer may have committed just before it released the lock.
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
