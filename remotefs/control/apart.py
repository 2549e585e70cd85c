"""Asks the kernel about a mount whose process may hang, without hanging with it.

A system call on such a mount waits until its process answers, and once that has taken the request not even a signal
ends the wait. So the question goes to a child process, which is killed and left behind when no answer comes in time.
The child holds nothing of its parent's: a program that reads the output of a command, or waits for its lock, must not
wait for a child that the kernel does not let go.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
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
    child, reader = _begin(question)
    try:
        answer = _read_all(reader, patience_s)
    finally:
        _end(child, reader)
    return _value(answer)


def ask_all_apart(
    questions: Sequence[Callable[[], bytes]], *, patience_s: float
) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """Ask each question in a child process of its own, all at once; yield each number with its answer as it comes.

    The answer is called for its value, and raises as `ask_apart` does. After `patience_s` seconds the children that
    have not answered are left behind, and their answers raise DeadlineExceeded.
    """
    until = time.monotonic() + patience_s
    with selectors.DefaultSelector() as answers:
        waiting = {}
        try:
            for number, question in enumerate(questions):
                waiting[number] = _begin(partial(_ask_in_group, question))
                answers.register(waiting[number][1], selectors.EVENT_READ, (number, bytearray()))
            while waiting and (ready := answers.select(max(until - time.monotonic(), 0.0))):
                for key, _ in ready:
                    number, came = key.data
                    piece = os.read(key.fd, _PIECE_BYTES)
                    came += piece
                    if not piece:
                        answers.unregister(key.fd)
                        _end(*waiting.pop(number))
                        yield number, partial(_value, bytes(came))
            for number in list(waiting):
                _end(*waiting.pop(number))
                yield number, partial(_raise_late, patience_s)
        finally:
            for child, reader in waiting.values():
                _end(child, reader)


def _raise_late(patience_s: float) -> NoReturn:
    raise DeadlineExceeded(f"no answer within {patience_s:g} s")


def _begin(question: Callable[[], bytes]) -> tuple[int, int]:
    """Start a child with a question. Return its process id, and the descriptor that its answer comes from."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _answer(question, writer)
    os.close(writer)
    return child, reader


def _ask_in_group(question: Callable[[], bytes]) -> bytes:
    """Ask in a process group of its own, so that the end of this child is the end of the children that it has."""
    os.setpgid(0, 0)
    return question()


def _end(child: int, reader: int) -> None:
    os.close(reader)
    with suppress(ProcessLookupError):  # it has no group of its own
        os.killpg(child, signal.SIGKILL)
    os.kill(child, signal.SIGKILL)
    # One that the kernel does not let go is reaped by init after this process has ended.
    os.waitpid(child, os.WNOHANG)


def _value(encoded: bytes) -> bytes:
    answer = _decoded(encoded)
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
