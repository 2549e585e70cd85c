"""Asks several mounts the same at once, so that one that is dead or hangs holds up none of the others (H3).

A process of its own asks each mount: it looks the mount up, which may hang in the kernel, and then calls its control
socket. So the wait for all of them is bounded, however many hang, and each answer is there as soon as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from remotefs.control.apart import ask_all_apart
from remotefs.control.find import FoundMount
from remotefs.control.messages.base import Endpoint
from remotefs.control.protocol import Reply, encode, error_of, failure_of
from remotefs.errors import DeadlineExceeded, RemotefsError, ReplyBroken, Unreachable

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)
Finders = Mapping[Path, Callable[[], FoundMount]]


def ask_all(
    finders: Finders, endpoint: Endpoint[P, R], params: Callable[[FoundMount], P], *, timeout_s: float
) -> Iterator[tuple[Path, R | RemotefsError]]:
    """Ask the mount that each finder finds, all at once; yield each path with its result, or its error, as it comes.

    After `timeout_s` seconds those that have not answered count as hung. Call it from a process of one thread.
    """
    questions = [_question(find, endpoint, params, timeout_s) for find in finders.values()]
    paths = list(finders)
    for number, answer in ask_all_apart(questions, patience_s=timeout_s):
        yield paths[number], _result(paths[number], endpoint.result, answer)


def _question(
    find: Callable[[], FoundMount], endpoint: Endpoint[P, R], params: Callable[[FoundMount], P], timeout_s: float
) -> Callable[[], bytes]:
    def ask() -> bytes:
        try:
            found = find()
            result = found.control.call(endpoint, params(found), timeout_s=timeout_s)
        except RemotefsError as error:
            return encode(Reply(error=failure_of(error)))
        return encode(Reply(result=msgspec.Raw(msgspec.json.encode(result))))

    return ask


def _result(path: Path, kind: type[R], answer: Callable[[], bytes]) -> R | RemotefsError:
    try:
        reply = msgspec.json.decode(answer(), type=Reply)
        return error_of(reply.error) if reply.error is not None else msgspec.json.decode(reply.result, type=kind)
    except DeadlineExceeded as error:
        return Unreachable(f"the mount at {path} hangs: {error}; see its log, or end its process")
    except msgspec.DecodeError as error:
        return ReplyBroken(f"the mount at {path} sent an answer that cannot be read: {error}")
    except RemotefsError as error:
        return error
