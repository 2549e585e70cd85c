"""The command line's end of the control socket; synchronous, because a command has nothing else to do."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from remotefs import __version__
from remotefs.control.address import short_address
from remotefs.control.messages.base import Endpoint, Progress, Report
from remotefs.control.protocol import (
    MAX_REPLY_BYTES,
    MOUNT_AGAIN,
    Answer,
    Request,
    encode,
    encode_params,
    error_of,
    known_progress,
)
from remotefs.errors import AmbiguousOutcome, DeadlineExceeded, ReplyBroken, Unreachable

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

# A mount that lives takes a connection at once, unless the machine is very busy.
CONNECT_TIMEOUT_S = 5.0


def _ignore(progress: Progress) -> None:
    pass


class ControlClient:
    """Sends commands to the mount that listens at `path`; a connection a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, endpoint: Endpoint[P, R], params: P, *, timeout_s: float, report: Report = _ignore) -> R:
        """Carry out a command within `timeout_s` and return its result; progress goes to `report` as it comes.

        Raises what the mount raised; Unreachable when no mount listens there; AmbiguousOutcome when it ended before
        it answered; DeadlineExceeded; ReplyBroken when the answer cannot be read.
        """
        with self._connection() as sock:
            deadline = time.monotonic() + timeout_s
            request = Request(command=endpoint.name, params=encode_params(params))
            for answer in self._exchange(sock, encode(request), deadline):
                if (progress := known_progress(answer.progress)) is not None:
                    report(progress)
                elif answer.error is not None:
                    raise error_of(answer.error)
                elif answer.result:
                    return self._decode(answer.result, endpoint.result)
        raise AmbiguousOutcome(f"the mount ended before it answered {endpoint.name!r} (its log: {self._log})")

    @property
    def _log(self) -> Path:
        return self.path.parent / "log" / "remotefs.log"

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(CONNECT_TIMEOUT_S)
            try:
                with short_address(self.path) as address:
                    sock.connect(address)
            except OSError as error:
                raise Unreachable(f"no mount answers at {self.path}: {error.strerror or error}") from error
            yield sock

    def _exchange(self, sock: socket.socket, request: bytes, deadline: float) -> Iterator[Answer]:
        try:
            sock.sendall(request)
            yield from (self._decode(line, Answer) for line in _lines(sock, deadline))
        except TimeoutError as error:
            raise DeadlineExceeded(f"the mount at {self.path} did not answer in time") from error
        except ConnectionError as error:
            raise AmbiguousOutcome(f"the mount ended before it answered (its log: {self._log})") from error

    def _decode(self, line: bytes | msgspec.Raw, kind: type[R]) -> R:
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.ValidationError as error:
            raise ReplyBroken(
                f"the mount at {self.path} was started by another version of remotefs, whose answer {__version__} "
                f"cannot read ({error}); {MOUNT_AGAIN}"
            ) from error
        except msgspec.DecodeError as error:
            raise ReplyBroken(f"the mount at {self.path} sent an answer that cannot be read: {error}") from error


def _lines(sock: socket.socket, deadline: float) -> Iterator[bytes]:
    """Yield whole lines until the other side closes. Raises TimeoutError, ReplyBroken for a line without an end."""
    rest = b""
    while True:
        *whole, rest = rest.split(b"\n")
        yield from whole
        if len(rest) > MAX_REPLY_BYTES:
            raise ReplyBroken("the mount answered a line without an end")
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = sock.recv(65536)
        if not piece:
            return
        rest += piece
