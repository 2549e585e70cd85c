"""`remotefs log`: the level and the format of a mount's log, and whether requests are logged, while it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from remotefs.config import LogFormat, LogLevel
from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.log import LOG, LogParams, LogState
from remotefs.errors import LocalError
from remotefs.mount.access_log import AccessLog

_log = logging.getLogger(__name__)


class LogControl(Protocol):
    """The log of this process."""

    path: Path
    level: LogLevel
    format: LogFormat

    def set_level(self, level: LogLevel) -> None:
        """Write records of this level and above from now on."""

    def use_format(self, log_format: LogFormat) -> None:
        """Write in this format from now on."""


class LogCommands:
    """Changes what is logged, and tells where. `log` is None in a process that has no log of its own."""

    def __init__(self, log: LogControl | None, access_log: AccessLog) -> None:
        self._control = log
        self._access_log = access_log

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [LOG.bind(self.change)]

    async def change(self, params: LogParams, _: Report) -> LogState:
        """Change what the parameters name. Return how it is now. Raises LocalError."""
        if params.access is not None:
            self._switch_access(on=params.access)
        if params.format is not None:
            self._access_log.use_format(params.format)
        if self._control is not None:
            self._change_log(self._control, params)
        return self._state()

    def _change_log(self, log: LogControl, params: LogParams) -> None:
        if params.format is not None and params.format != log.format:
            log.use_format(params.format)
        if params.level is not None and params.level != log.level:
            # Told at both levels, so that the log shows from when on it has less or more.
            _log.warning("the level of the log is %s from now on, after %s", params.level, log.level)
            log.set_level(params.level)

    def _switch_access(self, *, on: bool) -> None:
        if not on:
            self._access_log.turn_off()
            return
        try:
            self._access_log.turn_on()
        except OSError as error:
            raise LocalError(f"{self._access_log.path}: cannot be written: {error.strerror}") from error

    def _state(self) -> LogState:
        log, access = self._control, self._access_log
        return LogState(
            path=str(log.path if log is not None else access.path.with_name("remotefs.log")),
            level=log.level if log is not None else "info",
            format=log.format if log is not None else "plain",
            access=access.is_on,
            access_path=str(access.path),
            dropped=access.dropped,
        )
