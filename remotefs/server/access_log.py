"""The access log: a line of JSON for every finished request, by which the requests of an action can be counted."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One finished request.

    `time`: seconds since the epoch. `op`: upload, list, metadata, content, delete or other. `bytes`: the length of the
    reply's body. `status`: the HTTP status, 0 if no reply began, 499 if the client disconnected before one. `file_id`:
    the file that the request names, or that the upload made.
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
    """Appends entries. A process that reads the file at the same time sees whole lines only."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._encode = msgspec.json.Encoder().encode

    def write(self, entry: Entry) -> None:
        """Append one line for the entry."""
        # One write call a line, on a descriptor with O_APPEND: lines never mix.
        os.write(self._fd, self._encode(entry) + b"\n")

    def close(self) -> None:
        """Close the log file."""
        os.close(self._fd)
