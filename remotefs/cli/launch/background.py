"""The process of a mount in the background: `python -m remotefs.cli.launch.background ARGS FD`.

A program of its own, because it lives long and needs nothing of the command line. ARGS is a `MountArgs`, FD the pipe
to the command that waits (see `startup`).
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from remotefs.cli.console import printable
from remotefs.cli.exit_status import exit_status, record, sentence, sole_error
from remotefs.cli.launch.plan import decode_args
from remotefs.cli.launch.process import ParentReporter, run_process
from remotefs.cli.launch.startup import ReadyPipe, StartupLine


def main() -> NoReturn:
    """Mount and serve; send an error that ends the start to the parent."""
    # httpx does without its own command line where that cannot be loaded: half of its time to load, and 5 MB of rich.
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # as "The import system" of Python's reference says
    args, fd = sys.argv[1:]
    # The service that runs the command is not this mount: only one in the foreground speaks to a service manager.
    os.environ.pop("NOTIFY_SOCKET", None)
    pipe = ReadyPipe(int(fd))
    try:
        status = run_process(decode_args(args).plan(os.environ), ParentReporter(pipe))
    except BaseException as error:  # noqa: BLE001 - no caller is above that could handle it
        cause = sole_error(error)
        record(cause)
        status = exit_status(cause)
        pipe.write(StartupLine(error=printable(sentence(cause)), exit=status))
    sys.exit(status)


if __name__ == "__main__":
    main()
