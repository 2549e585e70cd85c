"""The access log: a line for each request of the kernel, in a file of its own, written by a thread.

    2026-11-28T17:40:01.250+00:00 read "/docs/a.pdf" offset=0 bytes=131072 ms=412.7 waited=service:411.9
    2026-11-28T17:40:01.671+00:00 lookup "/docs/b.pdf" ms=0.1 error=ENOENT

The loop puts records into a queue with a bound and waits for nothing (H8). Records that do not fit are counted, and
the next line tells how many. A line has no content, and no secret: neither a name nor an attribute's value is one.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from remotefs.config import LogFormat
from remotefs.credentials import hide
from remotefs.fuse.requests import RequestRecord, Requests
from remotefs.log_files import MAX_LOG_BYTES, OLD_LOGS, PrivateRotatingFileHandler

_log = logging.getLogger(__name__)
ACCESS_LOG_NAME = "access.log"
# Records that wait for the disk: a few seconds of the busiest mount, some MB.
_MOST_WAITING = 10_000
_JOIN_S = 2.0


class AccessLog:
    """Turns the access log on and off; its file is in `folder`, which is there."""

    def __init__(self, folder: Path, requests: Requests, secrets: Sequence[str], log_format: LogFormat) -> None:
        self.path = folder / ACCESS_LOG_NAME
        self._requests = requests
        # Not copied: a key that comes later is hidden, too.
        self._secrets = secrets
        self._format: Callable[[RequestRecord], str] = plain
        self._queue: queue.SimpleQueue[RequestRecord | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # The thread that writes the last lines.
        self._ending: threading.Thread | None = None
        # Records that found the queue full so far, and those of them that no line tells of yet.
        self.dropped = 0
        self._untold = 0
        self.use_format(log_format)

    @property
    def is_on(self) -> bool:
        """Return whether requests get lines."""
        return self._thread is not None

    def use_format(self, log_format: LogFormat) -> None:
        """Write JSON objects, or plain lines for each other format."""
        self._format = as_json if log_format == "json" else plain

    def turn_on(self) -> None:
        """Begin to write lines. Raises OSError when the file cannot be made."""
        if self._thread is not None:
            return
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        file = PrivateRotatingFileHandler(self.path, maxBytes=MAX_LOG_BYTES, backupCount=OLD_LOGS)
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=self._write_all, args=(self._queue, file), daemon=True, name="access log"
        )
        self._thread.start()
        self._requests.write = self._put

    def turn_off(self) -> None:
        """Take no more records; the thread writes those that wait."""
        if self._thread is not None:
            self._requests.write = None
            self._queue.put(None)
            self._ending, self._thread = self._thread, None

    def finish(self) -> None:
        """Turn it off and wait, for at most 2 s, until all lines are written. For the end of a mount; blocks."""
        self.turn_off()
        if self._ending is not None:
            self._ending.join(_JOIN_S)

    def _put(self, record: RequestRecord) -> None:
        if self._queue.qsize() >= _MOST_WAITING:
            self.dropped += 1
            self._untold += 1
        else:
            self._queue.put(record)

    def _write_all(self, records: queue.SimpleQueue[RequestRecord | None], file: PrivateRotatingFileHandler) -> None:
        """Write what comes until None does, in a thread. The handler reports what it cannot write on stderr."""
        while (record := records.get()) is not None:
            untold, self._untold = self._untold, 0
            if untold:
                _emit(file, f"{_moment(record.at)} {untold} requests are missing here: the disk was too slow")
            _emit(file, hide(self._format(record), self._secrets))
        file.close()


def plain(record: RequestRecord) -> str:
    """Return a record as a line for a person; a name with control characters is escaped, as in JSON."""
    words = [_moment(record.at), record.operation, _quoted(record.path)]
    words += [f"to={_quoted(record.target)}"] if record.target is not None else []
    words += [f"offset={record.offset}"] if record.offset is not None else []
    words += [f"bytes={record.size}"] if record.size is not None else []
    words.append(f"ms={record.seconds * 1000:.1f}")
    words += [f"error={record.error}"] if record.error else []
    waited = ",".join(f"{cause}:{seconds * 1000:.1f}" for cause, seconds in record.waited.items())
    words += [f"waited={waited}"] if waited else []
    return " ".join(words)


def as_json(record: RequestRecord) -> str:
    """Return a record as a JSON object in one line."""
    facts = {
        "time": _moment(record.at),
        "operation": record.operation,
        "path": record.path,
        "to": record.target,
        "offset": record.offset,
        "bytes": record.size,
        "ms": round(record.seconds * 1000, 3),
        "error": record.error,
        "waited_ms": {cause: round(seconds * 1000, 3) for cause, seconds in record.waited.items()} or None,
    }
    known = {name: value for name, value in facts.items() if value is not None}
    text = msgspec.json.encode(known).decode()
    return text if text.isprintable() else json.dumps(known)


def _emit(file: PrivateRotatingFileHandler, line: str) -> None:
    file.handle(logging.LogRecord("remotefs.access", logging.INFO, "", 0, line, None, None))


def _quoted(path: str) -> str:
    text = json.dumps(path, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(path)


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).isoformat(timespec="milliseconds")
