"""A store in a folder that machines share, such as one of NFS: an object is a file, and is synced before it is there.

A file is written under a name of its own (`.NAME.RANDOM.new`), synced, and renamed or linked to its key; then the
folder is synced, and those above it that this process has not synced yet. A crash leaves such a name behind at worst,
which no listing shows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from remotefs.errors import ObjectStoreError, ObjectStoreUnusable
from remotefs.objects.backend import PAGE_ENTRIES, PIECE_BYTES, ObjectEntry, check_key
from remotefs.objects.failures import missing, of_file
from remotefs.objects.source import Source


class Folder:
    """The objects below a folder that exists."""

    def __init__(self, url: str, root: Path) -> None:
        """Use the folder `root`. Raises ObjectStoreUnusable if there is none, ObjectStoreError if it cannot be read."""
        self.url = url
        self._root = root
        # Folders whose names are known to survive a power cut. A set, because threads only add to it.
        self._synced: set[Path] = {root}
        found = self._look()
        self._inode = found.st_ino
        # What is made may be used by those who may use the folder, whatever the umask here.
        self._folder_mode = stat.S_IMODE(found.st_mode)
        self._file_mode = self._folder_mode & 0o666

    def put(self, key: str, source: Source) -> None:
        """Put an object whole, over any other of that key. Raises what the source raises."""
        with self._told(key), self._written(key, source) as new:
            path = self._path(key)
            new.replace(path)
            _sync(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """Put an object whole if the key is absent; return whether it was."""
        with self._told(key), self._written(key, (data,)) as new:
            path = self._path(key)
            try:
                path.hardlink_to(new)
            except FileExistsError:
                # A server of NFS whose reply was lost is asked again: then the link is ours all the same.
                if new.stat().st_nlink < 2:
                    return False
            _sync(path.parent)
        return True

    def get(self, key: str, start: int, length: int | None) -> bytes:
        """Return at most `length` bytes (None: all) from `start`. Raises ObjectMissing."""
        body = self.open(key, start, length)
        try:
            return b"".join(iter(body.next, None))
        finally:
            body.close()

    def open(self, key: str, start: int, length: int | None, piece_bytes: int = PIECE_BYTES) -> FolderBody:
        """Return the same bytes as a body in pieces of `piece_bytes`. Raises ObjectMissing."""
        with self._told(key):
            return FolderBody(self._path(key), self._place(key), start, length, piece_bytes)

    def size_of(self, key: str) -> int | None:
        """Return the bytes of an object, None if it is absent."""
        with self._told(key):
            try:
                found = self._path(key).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, of which some may be absent."""
        folders: dict[Path, None] = {}
        for key in keys:
            with self._told(key), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                path = self._path(key)
                path.unlink()
                folders[path.parent] = None
        for folder in folders:
            with self._told(""):
                _sync(folder)

    def copy(self, source: str, target: str) -> None:
        """Put the bytes of one object under another key. Raises ObjectMissing."""
        body = self.open(source, 0, None)
        try:
            with self._told(target), self._written(target, iter(body.next, None)) as new:
                path = self._path(target)
                new.replace(path)
                _sync(path.parent)
        finally:
            body.close()

    def pages(self, prefix: str, after: str) -> Iterator[list[ObjectEntry]]:
        """Return the objects below the folder `prefix` whose keys are greater than `after`, by ascending key."""
        prefix = prefix.strip("/")
        page: list[ObjectEntry] = []
        with self._told(prefix):
            top = self._path(prefix) if prefix else self._checked_root()
            for entry in _walk(top, f"{prefix}/" if prefix else "", after):
                page.append(entry)
                if len(page) == PAGE_ENTRIES:
                    yield page
                    page = []
        if page:
            yield page

    @contextlib.contextmanager
    def _written(self, key: str, pieces: Iterable[bytes]) -> Iterator[Path]:
        """Write a file beside the one of a key and sync it; its name is gone afterwards."""
        path = self._path(key)
        self._make(path.parent)
        new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, for its mode
                file.writelines(pieces)
                file.flush()
                # A folder of another system may have no modes.
                with contextlib.suppress(OSError):
                    os.fchmod(fd, self._file_mode)
                os.fsync(fd)
            yield new
        finally:
            new.unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        """Make a folder and those above it, below the root, so that their names survive a power cut."""
        if folder in self._synced:
            return
        self._make(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            with contextlib.suppress(OSError):
                folder.chmod(self._folder_mode)
        # Also if another made it: it may not have come to this yet.
        _sync(folder.parent)
        self._synced.add(folder)

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._checked_root() / key

    def _checked_root(self) -> Path:
        """Return the root if it is the one of the start, and not the place where a share is not mounted any more."""
        if self._look().st_ino != self._inode:
            raise ObjectStoreUnusable(
                f"{self.url}: another folder is at the address of the shared store than at the start: mount its share"
            )
        return self._root

    def _look(self) -> os.stat_result:
        try:
            found = self._root.stat()
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError as error:
            raise of_file(error, self.url) from error
        if found is None or not stat.S_ISDIR(found.st_mode):
            raise ObjectStoreUnusable(
                f"{self.url}: the folder of the shared store does not exist: make it, or mount its share"
            )
        return found

    def _place(self, key: str) -> str:
        return f"{self.url}/{key}"

    @contextlib.contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise of_file(error, self._place(key)) from error


class FolderBody:
    """The bytes of one file, read by one thread at a time."""

    def __init__(self, path: Path, place: str, start: int, length: int | None, piece_bytes: int) -> None:
        """Open the file. Raises OSError, and ObjectMissing for what is not a file."""
        self._place = place
        self._at = start
        self._piece_bytes = piece_bytes
        self._lock = threading.Lock()
        self._reading = self._closing = False
        self._fd = -1
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        found = os.fstat(self._fd)
        if not stat.S_ISREG(found.st_mode):
            self.close()
            raise missing(place)
        self._end = found.st_size if length is None else min(found.st_size, start + length)

    def next(self) -> bytes | None:
        """Return the next piece, None at the end. Raises ObjectStoreError."""
        with self._lock:
            if self._closing or self._at >= self._end:
                return None
            self._reading = True
        try:
            return self._read()
        except OSError as error:
            raise of_file(error, self._place) from error
        finally:
            with self._lock:
                self._reading = False
                self._close_if_due()

    def close(self) -> None:
        """Close the file, now or when the thread that reads it has come back."""
        with self._lock:
            self._closing = True
            self._close_if_due()

    def __del__(self) -> None:
        self.close()

    def _read(self) -> bytes:
        piece = os.pread(self._fd, min(self._piece_bytes, self._end - self._at), self._at)
        if not piece:
            raise ObjectStoreError(f"{self._place}: the object in the shared store became shorter while it was read")
        self._at += len(piece)
        return piece

    def _close_if_due(self) -> None:
        if self._closing and not self._reading and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _walk(folder: Path, prefix: str, after: str) -> Iterator[ObjectEntry]:
    """Yield the files below a folder by ascending key, which begins with `prefix`; what goes meanwhile is left out."""
    try:
        with os.scandir(folder) as found:
            entries = [(f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in found]
    except (FileNotFoundError, NotADirectoryError):
        return
    for name, entry in sorted(entries, key=lambda pair: pair[0]):
        key = prefix + name
        if name.startswith(".") or (key < after and not after.startswith(key)):
            continue
        if name.endswith("/"):
            yield from _walk(folder / entry.name, key, after)
        elif key > after:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                yield ObjectEntry(key, status.st_size, status.st_mtime_ns)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
