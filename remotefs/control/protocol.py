"""The wire: one line of JSON asks, lines of JSON answer, the last of them with a result or an error.

    -> {"command": "flush", "params": {"path": "a.txt", "timeout_s": 60.0}}
    <- {"progress": {"type": "draining", "left": 2}}
    <- {"result": {"left": 0}}                      or {"error": {"kind": "NotFound", "message": "…"}}

A connection carries one command. Closing it early cancels the command.
"""

from __future__ import annotations

import msgspec

from remotefs import errors
from remotefs.control.messages.base import Message, Progress
from remotefs.errors import RefusedError, RemotefsError

# A request is a name and a path; a reply may name many files.
MAX_REQUEST_BYTES = 64 * 1024
MAX_REPLY_BYTES = 16 * 1024 * 1024


class Request(Message, frozen=True):
    """A request; `params` is decoded as the type of its command."""

    command: str
    params: msgspec.Raw = msgspec.Raw(b"{}")


class Failure(Message, frozen=True, kw_only=True, omit_defaults=True):
    """An exception: the name of its class, its sentence, and the HTTP status of a refusal."""

    kind: str
    message: str
    status: int | None = None


class Reply(Message, frozen=True, omit_defaults=True):
    """Exactly one of the three; `result` is read as the command's own type, and empty when it is not there."""

    progress: Progress | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


def encode(message: msgspec.Struct) -> bytes:
    """Return the message as one line, with its newline."""
    return msgspec.json.encode(message) + b"\n"


def failure_of(error: RemotefsError) -> Failure:
    """Return the record that `error_of` turns back into the same class and sentence."""
    status = error.status if isinstance(error, RefusedError) else None
    return Failure(kind=type(error).__name__, message=str(error), status=status)


def error_of(failure: Failure) -> RemotefsError:
    """Return the exception that the other side raised; a RemotefsError where its class is not known here."""
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, RemotefsError)):
        return RemotefsError(failure.message)
    if issubclass(kind, RefusedError):
        return kind(failure.message, status=failure.status or 0)
    return kind(failure.message)
