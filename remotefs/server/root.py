"""The folder of a server: its lock, its key, and the address of the server that runs on it.

ROOT/server.lock     locked (flock) by the running server
ROOT/server.json     its url and pid, while it runs
ROOT/api-key         its key, if the environment has none (0600)
ROOT/requests.jsonl  the access log, if it is switched on
ROOT/files.db, ROOT/files/, ROOT/incoming/  the store

The lock says whether a server runs. server.json does not: a killed server leaves it behind, while the kernel releases
the lock of every process that ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from remotefs.server.errors import RootInUse, ServerError


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A running server. `key_file` is None if its key came from its environment."""

    url: str
    pid: int
    key_file: str | None


class Root:
    """The folder of a server, which is made if it does not exist (0700). Raises ServerError if that fails."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"{path}: cannot be used as the root of a server: {error.strerror}") from error

    @property
    def requests_log(self) -> Path:
        """Return the path of the access log."""
        return self.path / "requests.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of this root in a `with` block. Raises RootInUse if another server holds it."""
        fd = os.open(self.path / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RootInUse(f"{self.path}: {_owner(self._announced())} serves this root; stop it first") from error
            yield
        finally:
            os.close(fd)

    @contextmanager
    def announced(self, running: Running) -> Iterator[None]:
        """Keep the address of the server in server.json during a `with` block, so that others find it."""
        _write_private(self._announcement, msgspec.json.encode(running))
        try:
            yield
        finally:
            self._announcement.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """Return the server that runs on this root; None if there is none, or if it does not listen yet."""
        try:
            # The lock is free, so no server runs. It is released at once.
            with self.locked():
                return None
        except RootInUse:
            return self._announced()

    def key(self, given: str | None) -> tuple[str, Path | None]:
        """Return the key that clients have to send and the file that holds it; None for the file of a `given` key.

        Without a `given` key the one in ROOT/api-key counts. It is made by the first call.
        """
        if given:
            return given, None
        path = self.path / "api-key"
        try:
            kept = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            kept = ""
        if not kept:
            kept = "sk-local-" + secrets.token_urlsafe(32)
            _write_private(path, kept.encode() + b"\n")
        return kept, path

    @property
    def _announcement(self) -> Path:
        return self.path / "server.json"

    def _announced(self) -> Running | None:
        try:
            return msgspec.json.decode(self._announcement.read_bytes(), type=Running)
        except (FileNotFoundError, msgspec.DecodeError):
            return None


def _owner(running: Running | None) -> str:
    return "another server" if running is None else f"the server {running.url} (process {running.pid})"


def _write_private(path: Path, content: bytes) -> None:
    """Write a file so that it is either complete or absent, and readable by its owner only."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    aside.replace(path)
