"""Sends log records to the systemd journal by its native protocol: a datagram of fields to a socket.

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. systemd's own Python package has to be built against its C library, for
these few lines.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
# syslog(3): err, warning, info, debug.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
# Datagrams have a bound, 208 KiB by default. What is longer is cut: the log file has all of it.
_MOST_MESSAGE_BYTES = 32 * 1024


def priority(level: int) -> int:
    """Return the priority of syslog(3) for a level of logging."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def encode(fields: Mapping[str, str]) -> bytes:
    """Return the fields as the protocol has them. A value of several lines is preceded by its length."""
    lines = []
    for name, value in fields.items():
        text = value.encode(errors="replace")[:_MOST_MESSAGE_BYTES]
        is_one_line = b"\n" not in text
        lines.append(
            b"%s=%s\n" % (name.encode(), text)
            if is_one_line
            else b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(text)), text)
        )
    return b"".join(lines)


class JournalHandler(logging.Handler):
    """Sends each record to the journal, and never waits for it: a journal that takes nothing loses records."""

    def __init__(self, mountpoint: str, path: Path = SOCKET) -> None:
        """Raises OSError when there is no journal."""
        super().__init__()
        self._mountpoint = mountpoint
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record; its formatter makes the message."""
        fields = {
            "MESSAGE": self.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": "remotefs",
            "SYSLOG_PID": str(os.getpid()),
            "REMOTEFS_MOUNTPOINT": self._mountpoint,
            "REMOTEFS_LOGGER": record.name,
            "CODE_FUNC": record.funcName or "",
            "CODE_LINE": str(record.lineno),
        }
        try:
            self._socket.send(encode(fields))
        except OSError:  # it is full, or starts again: the log file has the record
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
        super().close()


class PrefixHandler(logging.StreamHandler):  # type: ignore[type-arg]  # a stream of text
    """Writes to stderr with the priorities that systemd reads from there (sd-daemon(3))."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, each line with its priority."""
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(mark + line for line in super().format(record).splitlines())


def journal_handler(mountpoint: str) -> logging.Handler | None:
    """Return a handler for the journal; None where this machine has none, or this process no way to it."""
    try:
        return JournalHandler(mountpoint)
    except OSError:
        return PrefixHandler() if os.environ.get("JOURNAL_STREAM") else None
