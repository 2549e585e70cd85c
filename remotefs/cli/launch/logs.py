"""Writes the log of a mount to STATE/log/remotefs.log, in the foreground to stderr too.

No line shows a secret or has a control character.
"""

from __future__ import annotations

import logging
import os
import sys
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from remotefs.cli.console import printable
from remotefs.credentials import KeyRing, hide

MAX_LOG_BYTES = 5 << 20
OLD_LOGS = 3
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# They log each request at INFO, its URL included.
QUIET_LOGGERS = ("httpx", "httpcore", "httpx2", "httpcore2", "hpack")


class SafeFormatter(logging.Formatter):
    """The last line of defence: hides all secrets of a run and escapes control characters, tracebacks included."""

    def __init__(self, keys: KeyRing) -> None:
        super().__init__(LINE)
        self._keys = keys

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line, and a traceback as indented lines below it.

        So every line that begins with a time is a record's: no name or reply in a message forges one.
        """
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        below = self.formatException(record.exc_info) if record.exc_info else ""
        if record.stack_info:
            below = f"{below}\n{self.formatStack(record.stack_info)}"
        lines = [self.formatMessage(record), *(f"  {line}" for line in below.splitlines())]
        return "\n".join(printable(hide(line, self._keys.secrets)) for line in lines)


class PrivateRotatingFileHandler(RotatingFileHandler):
    """Its files are 0600 from their first byte on."""

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_CLOEXEC, 0o600)

        file = open(self.baseFilename, self.mode, encoding="utf-8", opener=private)  # noqa: SIM115 - the handler closes it
        assert isinstance(file, TextIOWrapper)
        return file


def start_logging(state_dir: Path, keys: KeyRing, *, to_stderr: bool) -> Path:
    """Send all records from INFO on to the log of `state_dir`; returns its path. Raises OSError."""
    folder = state_dir / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "remotefs.log"
    formatter = SafeFormatter(keys)
    handlers: list[logging.Handler] = [PrivateRotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=OLD_LOGS)]
    if to_stderr:
        handlers.append(logging.StreamHandler(sys.stderr))
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    logging.captureWarnings(capture=True)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return path
