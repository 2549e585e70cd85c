"""The child process that asks the kernel about a mount that may hang."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from remotefs.control.apart import ask_all_apart, ask_apart
from remotefs.errors import DeadlineExceeded, LocalError


def _killed() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _fails() -> NoReturn:
    raise ValueError("embedded null byte")


def _refused() -> NoReturn:
    raise PermissionError(errno.EACCES, "no")


def _hangs() -> NoReturn:
    time.sleep(60.0)
    raise AssertionError


@pytest.mark.parametrize(
    ("question", "error", "text"),
    [
        (_killed, LocalError, "ended without an answer"),
        (_fails, LocalError, "embedded null byte"),
        (_refused, PermissionError, "denied"),
        (_hangs, DeadlineExceeded, "no answer within"),
    ],
)
def test_however_the_child_ends_there_is_a_clear_error(
    question: Callable[[], bytes], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ask_apart(question, patience_s=0.5 if question is _hangs else 10.0)


def test_an_answer_of_any_length_is_read_whole() -> None:
    """A pipe takes 64 KiB at once; the real paths of hundreds of files are more."""
    answer = os.urandom(1 << 20)
    assert ask_apart(lambda: answer) == answer


def _open_files() -> bytes:
    links = map("/proc/self/fd/{}".format, os.listdir("/proc/self/fd"))
    # One of them was that of the list itself.
    return "\n".join(os.readlink(link) for link in links if os.path.lexists(link)).encode()


def test_the_child_holds_nothing_of_its_parent() -> None:
    """Else a reader of the command's output would wait for a child that the kernel does not let go."""
    reader, writer = os.pipe()
    try:
        kept = ask_apart(_open_files, patience_s=10.0).decode().split("\n")
    finally:
        os.close(reader)
        os.close(writer)
    assert sorted(path.partition(":")[0] for path in kept) == ["/dev/null"] * 3 + ["pipe"]


def test_of_several_the_one_that_hangs_holds_up_none_of_the_others() -> None:
    """Its answer comes last and is a failure."""
    questions = [lambda: ask_apart(_hangs), lambda: b"first", _fails, lambda: b"last"]
    answers = dict(ask_all_apart(questions, patience_s=1.0))
    assert (answers[1](), answers[3]()) == (b"first", b"last")
    assert list(answers)[-1] == 0
    with pytest.raises(LocalError, match="embedded null"):
        answers[2]()
    with pytest.raises(DeadlineExceeded, match=r"within 1 s"):
        answers[0]()
