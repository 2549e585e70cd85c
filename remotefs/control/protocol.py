"""The wire: one line of JSON asks, lines of JSON answer, the last of them with a result or an error.

    -> {"command": "flush", "params": {"path": "a.txt", "timeout_s": 60.0}}
    <- {"progress": {"type": "draining", "left": 2}}
    <- {"result": {"left": 0}}                      or {"error": {"kind": "NotFound", "message": "…"}}

A connection carries one command. Closing it early cancels the command.

The command line and the mount may be of different versions, since a mount outlives an upgrade. Unknown fields of an
answer are ignored, and so is progress of an unknown kind. Parameters that have their defaults are not sent; a mount
refuses parameters that it does not know, because it would do something other than what was asked.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from remotefs import __version__, errors
from remotefs.control.messages.base import Message, Progress
from remotefs.errors import InvalidArgument, RefusedError, RemotefsError

P = TypeVar("P", bound=msgspec.Struct)
# The advice where the two ends are of different versions.
MOUNT_AGAIN = "unmount it and mount again to use the version that is installed now"

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


def encode_params(params: msgspec.Struct) -> msgspec.Raw:
    """Return the parameters without those that have their defaults: an older mount may not know them."""
    given = {
        field.encode_name: value
        for field in msgspec.structs.fields(params)
        if (value := getattr(params, field.name)) != field.default
    }
    return msgspec.Raw(msgspec.json.encode(given))


def decode_params(command: str, raw: msgspec.Raw, kind: type[P]) -> P:
    """Return the parameters of a command. Raises InvalidArgument if they are those of another version."""
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    mount = f"this mount was started by remotefs {__version__}, whose command {command!r}"
    try:
        unknown = sorted(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).keys() - known)
        if unknown:
            raise InvalidArgument(f"{mount} does not know {', '.join(map(repr, unknown))}; {MOUNT_AGAIN}")
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{mount} takes other parameters ({error}); {MOUNT_AGAIN}") from error


def failure_of(error: RemotefsError) -> Failure:
    """Return the record that `error_of` turns back into the same class and sentence."""
    status = error.status if isinstance(error, RefusedError) else None
    return Failure(kind=type(error).__name__, message=str(error), status=status)


class Answer(Message, frozen=True):
    """A Reply as the command line reads it, whose progress may be of a kind that it does not know."""

    progress: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


def known_progress(raw: msgspec.Raw) -> Progress | None:
    """Return the progress of an answer; None if there is none, or if a newer mount means something unknown by it."""
    try:
        return msgspec.json.decode(raw, type=Progress) if raw else None
    except msgspec.ValidationError:
        return None


def error_of(failure: Failure) -> RemotefsError:
    """Return the exception that the other side raised; a RemotefsError where its class is not known here."""
    kind = getattr(errors, failure.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, RemotefsError)):
        return RemotefsError(failure.message)
    if issubclass(kind, RefusedError):
        return kind(failure.message, status=failure.status or 0)
    return kind(failure.message)
