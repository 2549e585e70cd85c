"""Starts a mount in the background: the command starts a child and waits for its last word over a pipe.

The child writes lines of JSON to the pipe: progress, where its log is, and at last that it is ready or what went wrong.
The pipe's end without such a word means that the child died.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from remotefs.cli.console import Notify

# How long a child may take to stop before it is killed.
STOP_WAIT_S = 10.0
LOG_TAIL_BYTES = 2000


class StartupLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the pipe; `ready` and `error` are last words."""

    ready: bool = False
    error: str | None = None
    exit: int = 1
    progress: str | None = None
    # To be read, and not only until the next line.
    notice: str | None = None
    log: str | None = None


class ReadyPipe:
    """The child's end. It goes on when the other end is closed."""

    def __init__(self, fd: int) -> None:
        # fusermount3 may outlive the start: were it to inherit the pipe, the parent would wait for its end.
        os.set_inheritable(fd, False)
        self._fd = fd

    def write(self, line: StartupLine) -> None:
        """Tell the parent."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._fd, msgspec.json.encode(line) + b"\n")


def start_in_background(command: Sequence[str], show: Notify, notify: Notify) -> StartupLine:
    """Start `command` with the pipe's descriptor added, in a session of its own, and return its last word.

    Progress goes to `show`, notices to `notify`.

    The environment is handed on as it is: keys travel there and never in the arguments. When waiting is interrupted
    the child is stopped.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as output, os.fdopen(reader, "rb") as lines:
        try:
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*command, str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                pass_fds=[writer],
                start_new_session=True,
            )
        finally:
            os.close(writer)
        try:
            return _last_word(child, lines, output, show, notify)
        except BaseException:
            _stop(child)
            raise


def redirect_output(path: Path) -> None:
    """Point stdout and stderr at `path`, emptied, so that the last messages of the interpreter itself are kept."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for stream in (1, 2):
        os.dup2(fd, stream)
    os.close(fd)


def tail(path: Path) -> str:
    """Return the end of a file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return _end_of(file)
    except OSError:
        return ""


def _last_word(
    child: subprocess.Popen[bytes], lines: IO[bytes], output: IO[bytes], show: Notify, notify: Notify
) -> StartupLine:
    log: Path | None = None
    for line in _decoded(lines):
        if line.ready:
            # Let go of: it lives on when this process has ended, and Popen need not mourn it.
            child.returncode = 0
            return line
        if line.error is not None:
            child.wait()
            # libfuse says why it could not mount on its stderr, and nowhere else.
            return StartupLine(error=f"{line.error}\n{_output_of(output, log)}".rstrip(), exit=line.exit)
        if line.log is not None:
            log = Path(line.log)
        if line.progress is not None:
            show(line.progress)
        if line.notice is not None:
            notify(line.notice)
    fate = _fate(child.wait())
    return StartupLine(
        error=f"the mount's process ended before it was ready ({fate})\n{_output_of(output, log)}".rstrip()
    )


def _output_of(output: IO[bytes], log: Path | None) -> str:
    """Return what the child wrote to its stdout and stderr, before and after it had a log."""
    return "\n".join(filter(None, [_end_of(output), tail(log) if log else ""]))


def _decoded(lines: IO[bytes]) -> Iterator[StartupLine]:
    for line in lines:
        # A line cut short by the child's death is as good as none.
        with contextlib.suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=StartupLine)


def _fate(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"by signal {signal.Signals(-status).name}"


def _end_of(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - LOG_TAIL_BYTES, 0))
    return file.read().decode(errors="replace").strip()


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
