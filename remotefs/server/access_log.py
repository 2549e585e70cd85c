"""ROOT/requests.jsonl: one line of JSON for every finished request, for counting requests per action of a user."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished request.

    `op`: upload, list, metadata, content, delete or other. `bytes`: of the reply's body. `status`: 0 when no reply
    began, 499 when the client went before. `file_id`: of an upload too.
    """

    time: float
    op: str
    method: str
    path: str
    status: int
    file_id: str | None = None
    bytes: int = 0
    request_id: str


class AccessLog:
    """Appends entries; whole lines, also with another process that reads along."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def write(self, entry: Entry) -> None:
        """Append one line."""
        os.write(self._fd, self._encode(entry) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
