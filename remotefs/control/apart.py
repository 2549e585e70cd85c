"""Asks the kernel about a mount whose process may hang, without hanging with it.

A system call on such a mount waits until its process answers, and once that has taken the request not even a signal
ends the wait. So the question goes to a child process, which is killed and left behind when no answer comes in time.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NoReturn

import msgspec

from remotefs.errors import DeadlineExceeded

# A mount that lives answers from memory, unless the machine is very busy.
PATIENCE_S = 5.0
_MOST_BYTES = 65536


class _Answer(msgspec.Struct):
    """What the child found: the value, or the errno of its failure."""

    value: bytes = b""
    errno: int = 0


def ask_apart(question: Callable[[], bytes], *, patience_s: float = PATIENCE_S) -> bytes:
    """Return what `question` returns in a child process. Raises its OSError, and DeadlineExceeded after `patience_s`.

    Call it from a process of one thread: the child is a fork.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer(question, writer)
    os.close(writer)
    try:
        if not select.select([reader], [], [], patience_s)[0]:
            raise DeadlineExceeded(f"no answer within {patience_s:g} s")
        answer = msgspec.json.decode(os.read(reader, _MOST_BYTES), type=_Answer)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        # One that the kernel does not let go is reaped by init after this process has ended.
        os.waitpid(child, os.WNOHANG)
    if answer.errno:
        raise OSError(answer.errno, os.strerror(answer.errno))
    return answer.value


def _answer(question: Callable[[], bytes], writer: int) -> NoReturn:
    """Answer in the child and end it, without flushing or cleaning up anything of the parent's."""
    status = 1
    try:
        try:
            answer = _Answer(value=question())
        except OSError as error:
            answer = _Answer(errno=error.errno or 0)
        os.write(writer, msgspec.json.encode(answer))
        status = 0
    finally:
        os._exit(status)
