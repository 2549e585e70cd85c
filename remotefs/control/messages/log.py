"""The log of a mount, changed while it runs: `log`."""

from __future__ import annotations

from remotefs.config import LogFormat, LogLevel
from remotefs.control.messages.base import Endpoint, Message


class LogParams(Message, frozen=True, kw_only=True):
    """What to change; None stays as it is."""

    level: LogLevel | None = None
    format: LogFormat | None = None
    access: bool | None = None


class LogState(Message, frozen=True, kw_only=True):
    """What is logged, and to which files. `dropped` requests got no line in the access log: the disk was too slow."""

    path: str
    level: LogLevel
    format: LogFormat
    access: bool
    access_path: str
    dropped: int = 0


LOG = Endpoint("log", LogParams, LogState)
