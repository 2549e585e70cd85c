"""Log files: readable by their owner alone from their first byte on, and bounded by rotation."""

from __future__ import annotations

import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler

MAX_LOG_BYTES = 5 << 20
OLD_LOGS = 3


class PrivateRotatingFileHandler(RotatingFileHandler):
    """Its files are 0600 from their first byte on."""

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            return os.open(path, flags | os.O_CLOEXEC, 0o600)

        file = open(self.baseFilename, self.mode, encoding="utf-8", opener=private)  # noqa: SIM115 - the handler closes it
        assert isinstance(file, TextIOWrapper)
        return file
