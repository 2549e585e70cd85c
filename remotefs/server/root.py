"""The folder of a server: who runs on it, its key, and where a running one is found.

ROOT/server.lock     flock of the running server
ROOT/server.json     its url and pid, while it runs
ROOT/api-key         the key, when the environment gave none (0600)
ROOT/requests.jsonl  the access log, when asked for
ROOT/files.db, ROOT/files/, ROOT/incoming/  the store
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
    """A server that answers. `key_file` is None when its key came from its environment."""

    url: str
    pid: int
    key_file: str | None


class Root:
    """The folder, made when it is not there (0700). Raises ServerError when it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"{path}: cannot be used as the root of a server: {error.strerror}") from error

    @property
    def requests_log(self) -> Path:
        """The access log."""
        return self.path / "requests.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one server of this root. Raises RootInUse."""
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
        """Let others find the server."""
        _write_private(self._announcement, msgspec.json.encode(running))
        try:
            yield
        finally:
            self._announcement.unlink(missing_ok=True)

    def running(self) -> Running | None:
        """The server that has the lock, if it has said where it is."""
        try:
            with self.locked():
                return None
        except RootInUse:
            return self._announced()

    def key(self, given: str | None) -> tuple[str, Path | None]:
        """The key to ask for, and the file that holds it when none was `given`: made once, then kept."""
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
    """Whole or not at all, readable by its owner only."""
    aside = path.with_name(path.name + ".new")
    aside.unlink(missing_ok=True)
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    aside.replace(path)
