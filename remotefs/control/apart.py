"""Asks the kernel about a mount whose process may hang, without hanging with it.

A system call on such a mount waits until its process answers, and once that has taken the request not even a signal
ends the wait. So the question goes to a child process, which is killed and left behind when no answer comes in time.
The child holds nothing of its parent's: a program that reads the output of a command, or waits for its lock, must not
wait for a child that the kernel does not let go.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable
from typing import NoReturn

import msgspec

from remotefs.errors import DeadlineExceeded, LocalError

# A mount that lives answers from memory, unless the machine is very busy.
PATIENCE_S = 5.0
_PIECE_BYTES = 65536
_STANDARD_STREAMS = 3


class _Answer(msgspec.Struct):
    """What the child found: the value, the errno of its failure, or another failure in words."""

    value: bytes = b""
    errno: int = 0
    failure: str = ""


def ask_apart(question: Callable[[], bytes], *, patience_s: float = PATIENCE_S) -> bytes:
    """Return what `question` returns in a child process, where only the standard streams are open.

    Raises its OSError, DeadlineExceeded after `patience_s`, LocalError where the child fails in another way. Call it
    from a process of one thread: the child is a fork.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer(question, writer)
    os.close(writer)
    try:
        answer = _decoded(_read_all(reader, patience_s))
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        # One that the kernel does not let go is reaped by init after this process has ended.
        os.waitpid(child, os.WNOHANG)
    if answer.errno:
        raise OSError(answer.errno, os.strerror(answer.errno))
    if answer.failure:
        raise LocalError(f"the process that was to look failed: {answer.failure}")
    return answer.value


def _read_all(reader: int, patience_s: float) -> bytes:
    """Return what the child writes until it ends. Raises DeadlineExceeded when it writes nothing for `patience_s`."""
    pieces: list[bytes] = []
    while select.select([reader], [], [], patience_s)[0]:
        piece = os.read(reader, _PIECE_BYTES)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    raise DeadlineExceeded(f"no answer within {patience_s:g} s")


def _decoded(answer: bytes) -> _Answer:
    """Return the answer of a child. Raises LocalError where it ended before it gave one."""
    try:
        return msgspec.json.decode(answer, type=_Answer)
    except msgspec.DecodeError:
        raise LocalError("the process that was to look ended without an answer: was it killed?") from None


def _answer(question: Callable[[], bytes], writer: int) -> NoReturn:
    """Answer in the child and end it, without flushing or cleaning up anything of the parent's."""
    status = 1
    try:
        _let_go_of_all_but(writer)
        try:
            answer = _Answer(value=question())
        except OSError as error:
            answer = _Answer(errno=error.errno or 0, failure=str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
            answer = _Answer(failure=repr(error))
        # More than a pipe takes is written in pieces.
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(msgspec.json.encode(answer))
        status = 0
    finally:
        os._exit(status)


def _let_go_of_all_but(writer: int) -> None:
    """Close the descriptors of the parent, and put /dev/null in the place of the standard streams."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(_STANDARD_STREAMS):
        os.dup2(nothing, stream)
    os.closerange(_STANDARD_STREAMS, writer)
    os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))
