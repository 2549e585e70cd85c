"""Writes the log of a mount to STATE/log/remotefs.log, in the foreground to stderr too.

No line shows a secret or has a control character, in any format. With `journald` the journal gets each record too.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from remotefs.cli.console import printable
from remotefs.cli.launch.journal import journal_handler
from remotefs.config import LogConfig, LogFormat, LogLevel
from remotefs.credentials import hide
from remotefs.log_files import MAX_LOG_BYTES, OLD_LOGS, PrivateRotatingFileHandler

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# They log each request at INFO, its URL included.
QUIET_LOGGERS = ("httpx", "httpcore", "httpx2", "httpcore2", "hpack")


class SafeFormatter(logging.Formatter):
    """The last line of defence: hides the given secrets and escapes control characters, tracebacks included."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__(LINE)
        self._secrets = secrets

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
        return "\n".join(printable(hide(line, self._secrets)) for line in lines)


class MessageFormatter(SafeFormatter):
    """The message alone, for the journal, which has the time and the level in fields of their own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the message of a record."""
        return record.message


class JsonFormatter(SafeFormatter):
    """A record as a JSON object in one line, with the fields that it was given by `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object: time (RFC 3339), level, logger, process, message, fields, and a traceback's lines."""
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": self._safe(record.getMessage()),
        }
        facts |= {name: self._safe(str(value)) for name, value in vars(record).items() if name not in _STANDARD}
        below = self.formatException(record.exc_info) if record.exc_info else record.stack_info
        if below:
            facts["traceback"] = [self._safe(line) for line in below.splitlines()]
        return json.dumps(facts)

    def _safe(self, text: str) -> str:
        # Escaped twice where it has to be: a reader that prints the message prints no control character.
        return printable(hide(text, self._secrets))


# What each record has by itself.
_STANDARD = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


class MountLog:
    """The log of one process: its level and its format can be changed at any time. Its file is always written."""

    def __init__(
        self, path: Path, secrets: Sequence[str], config: LogConfig, mountpoint: str, *, to_stderr: bool
    ) -> None:
        """Raises OSError when the file cannot be made."""
        self.path = path
        self.level: LogLevel = config.level
        self.format: LogFormat = config.format
        self._secrets = secrets
        self._mountpoint = mountpoint
        self._to_stderr = to_stderr
        self._file = PrivateRotatingFileHandler(path, maxBytes=MAX_LOG_BYTES, backupCount=OLD_LOGS)
        self._install()

    def set_level(self, level: LogLevel) -> None:
        """Write records of this level and above from now on."""
        self.level = level
        logging.getLogger().setLevel(level.upper())

    def use_format(self, log_format: LogFormat) -> None:
        """Write in this format from now on."""
        self.format = log_format
        self._install()

    def _install(self) -> None:
        plain = SafeFormatter(self._secrets)
        self._file.setFormatter(JsonFormatter(self._secrets) if self.format == "json" else plain)
        journal = journal_handler(self._mountpoint) if self.format == "journald" else None
        if journal is not None:
            journal.setFormatter(MessageFormatter(self._secrets))
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(plain)
        # Under systemd stderr is the journal, which would have each line twice.
        is_twice = journal is not None and bool(os.environ.get("JOURNAL_STREAM"))
        wanted = [self._file, journal, terminal if self._to_stderr and not is_twice else None]
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
            if handler is not self._file:
                handler.close()
        for new in filter(None, wanted):
            root.addHandler(new)
        self.set_level(self.level)
        if self.format == "journald" and journal is None:
            logging.getLogger(__name__).warning(
                "there is no journal on this machine: the log goes to %s alone", self.path
            )


def start_logging(
    state_dir: Path,
    secrets: Sequence[str],
    *,
    to_stderr: bool,
    config: LogConfig = LogConfig(),  # noqa: B008 - frozen
    mountpoint: str = "",
) -> MountLog:
    """Send all records of the level and above to the log of `state_dir`; return that log. Raises OSError."""
    folder = state_dir / "log"
    folder.mkdir(mode=0o700, exist_ok=True)
    log = MountLog(folder / "remotefs.log", secrets, config, mountpoint, to_stderr=to_stderr)
    logging.captureWarnings(capture=True)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return log
