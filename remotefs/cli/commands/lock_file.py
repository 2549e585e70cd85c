"""The lock file of `remotefs id`: which files were handed over, and whether they are still the same.

A path is that within the mount, so the file holds wherever the account is mounted. The content of an id never changes:
while a path has the id that was written down, it has the content too. The sum tells more where the id is another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from remotefs.control.messages.ls import ListedFile
from remotefs.errors import InvalidArgument, LocalError

VERSION = 1
_SUM = "xxh3-128:"


class LockedFile(msgspec.Struct, frozen=True):
    """A file: its path in the mount, its id, its size in bytes, and the sum of its content where that was known."""

    path: str
    file_id: str
    size: int
    sum: str | None = None


class Lock(msgspec.Struct, frozen=True):
    """The file as a whole."""

    version: int
    files: tuple[LockedFile, ...]


def locked(file: ListedFile, made: str | None) -> LockedFile:
    """Return the entry of a file that the service has; `made` is its sum where it was made of its bytes."""
    assert file.file_id is not None
    digest = file.digest or made
    return LockedFile(file.path, file.file_id, file.size, f"{_SUM}{digest}" if digest else None)


def write_lock(path: Path, files: list[LockedFile]) -> None:
    """Write a lock file whole or not at all. Raises LocalError."""
    lines = b",\n".join(b"  " + msgspec.json.encode(file) for file in files)
    new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        new.write_bytes(b'{"version": %d, "files": [\n%s\n]}\n' % (VERSION, lines))
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise LocalError(f"{path}: the lock file cannot be written: {error.strerror}") from error


def read_lock(path: Path) -> tuple[LockedFile, ...]:
    """Return the entries of a lock file. Raises LocalError, InvalidArgument."""
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except OSError as error:
        raise LocalError(f"{path}: the lock file cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"{path} is not a lock file of `remotefs id --lock`: {error}") from error
    if lock.version != VERSION:
        raise InvalidArgument(f"{path}: version {lock.version} of lock files is newer than this remotefs")
    return lock.files


def differences(files: tuple[LockedFile, ...], found: Mapping[str, ListedFile]) -> Iterator[tuple[str, str]]:
    """Yield the path of each file that is not as it was locked, and how it differs; `found` is by path."""
    for file in files:
        now = found.get(file.path)
        if now is None:
            yield file.path, "is not in the mount any more"
        elif now.file_id is None:
            yield file.path, f"was changed here, and the service does not have it yet ({now.state})"
        elif now.file_id != file.file_id:
            yield file.path, f"is {now.file_id} now: {_content(file, now)}"


def _content(file: LockedFile, now: ListedFile) -> str:
    if now.size != file.size:
        return "other content"
    if file.sum is None or now.digest is None:
        return "another upload, and nothing says whether its content is the same"
    return "the same content, uploaded again" if file.sum == f"{_SUM}{now.digest}" else "other content"
