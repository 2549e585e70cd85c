"""`remotefs` itself, killed at a step.

    python -m tests.crash.mounted STEP NTH mount MOUNTPOINT --foreground ...

is that command in a process that ends by SIGKILL when the step is reached for the nth time.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from remotefs.cli.main import main


class _Executioner(logging.Handler):
    def __init__(self, step: str, nth: int) -> None:
        super().__init__()
        self._step, self._left = step, nth

    def emit(self, record: logging.LogRecord) -> None:
        self._left -= isinstance(record.args, tuple) and record.args[0] == self._step
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    steps = logging.getLogger("remotefs.crashpoints")
    steps.setLevel(logging.DEBUG)
    steps.propagate = False
    steps.addHandler(_Executioner(sys.argv[1], int(sys.argv[2])))
    sys.argv[1:] = sys.argv[3:]
    main()
