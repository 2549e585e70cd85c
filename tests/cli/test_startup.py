"""Starting a process in the background and waiting for its one word; the child is a few lines of Python here."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from remotefs.cli.launch.startup import ReadyPipe, StartupLine, start_in_background

PROLOGUE = """
import os, signal, sys, time
from pathlib import Path
from remotefs.cli.launch.startup import ReadyPipe, StartupLine, redirect_output
pipe = ReadyPipe(int(sys.argv[-1]))
"""


def start(
    program: str, *arguments: str, seen: list[str] | None = None, notices: list[str] | None = None
) -> StartupLine:
    show = (lambda _: None) if seen is None else seen.append
    notify = (lambda _: None) if notices is None else notices.append
    return start_in_background([sys.executable, "-c", PROLOGUE + program, *arguments], show, notify)


def test_ready_ends_the_wait_and_progress_is_shown() -> None:
    seen: list[str] = []
    notices: list[str] = []
    program = """
pipe.write(StartupLine(notice="3 changes are pending"))
pipe.write(StartupLine(progress="listed 1"))
pipe.write(StartupLine(progress="listed 2"))
pipe.write(StartupLine(ready=True))
"""
    assert start(program, seen=seen, notices=notices) == StartupLine(ready=True)
    assert notices == ["3 changes are pending"]
    assert seen == ["listed 1", "listed 2"]


def test_the_child_is_not_waited_for_once_it_is_ready(tmp_path: Path) -> None:
    program = """
Path(sys.argv[1]).write_text(str(os.getpid()))
pipe.write(StartupLine(ready=True))
signal.pause()
"""
    assert start(program, str(tmp_path / "pid")).ready
    pid = int((tmp_path / "pid").read_text())
    assert os.getsid(pid) == pid
    assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_an_error_comes_with_its_exit_status_and_what_was_said_besides() -> None:
    last = start('print("libfuse said this", file=sys.stderr)\npipe.write(StartupLine(error="no", exit=2))')
    assert last.exit == 2
    assert last.error is not None
    assert last.error.splitlines() == ["no", "libfuse said this"]


@pytest.mark.parametrize(
    ("program", "fate"), [("sys.exit(7)", "exit status 7"), ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL")]
)
def test_a_death_without_a_word_is_told_with_the_end_of_the_output(program: str, fate: str) -> None:
    last = start(f'print("x" * 5000 + "the end", flush=True)\n{program}')
    assert last.error is not None
    assert fate in last.error
    assert "the end" in last.error
    assert len(last.error) < 3000


def test_a_death_after_the_log_was_opened_is_told_with_the_end_of_the_log(tmp_path: Path) -> None:
    program = """
redirect_output(Path(sys.argv[1]))
pipe.write(StartupLine(log=sys.argv[1]))
print("last words", flush=True)
os._exit(1)
"""
    last = start(program, str(tmp_path / "stderr.log"))
    assert last.error is not None
    assert "last words" in last.error


def test_half_a_line_is_no_word() -> None:
    last = start("os.write(int(sys.argv[-1]), b'{\"rea')")
    assert last.error is not None
    assert "ended before it was ready" in last.error


def test_an_interruption_of_the_wait_stops_the_child(tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    program = """
Path(sys.argv[1]).write_text(str(os.getpid()))
pipe.write(StartupLine(progress="x"))
signal.pause()
"""
    with pytest.raises(KeyboardInterrupt):
        start_in_background([sys.executable, "-c", PROLOGUE + program, str(tmp_path / "pid")], interrupt, interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_parent_that_went_away_does_not_end_the_child() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ReadyPipe(writer).write(StartupLine(ready=True))
    finally:
        os.close(writer)
