"""Answers scrapes: a small HTTP/1.1 server on a unix socket or a loopback port, in the mount's own event loop.

Whoever may connect gets only `GET /metrics`. Connections, the head of a request and the time for each have bounds, so
nothing that a caller does holds up the mount. A browser that a foreign page has led here, by a name that points to this
machine, is refused by its Host header.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import h11
import trio

from remotefs.control.address import short_address

_log = logging.getLogger(__name__)
METRICS_PATH = "/metrics"
# Prometheus keeps one connection open.
_MOST_CONNECTIONS = 16
_MOST_HEAD_BYTES = 16 * 1024
# For the head of the next request, which may follow a while later, and for taking a reply.
_IDLE_S = 120.0
_REPLY_S = 10.0
# For the other end of a socket that is there already.
_ASK_S = 0.5
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Called with the Accept header of a scrape; returns the text and its content type.
Scrape = Callable[[str], Awaitable[tuple[bytes, str]]]


class MetricsServer:
    """Answers scrapes at a unix socket's path, or at a loopback address and a port."""

    def __init__(self, address: Path | tuple[str, int], scrape: Scrape) -> None:
        self._address = address
        self._scrape = scrape
        self._connections = 0

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the address cannot be listened at."""
        with _listening(self._address) as sock:
            _log.info("metrics are served at %s", self._shown)
            await trio.serve_listeners(self._serve, [trio.SocketListener(trio.socket.from_stdlib_socket(sock))])

    @property
    def _shown(self) -> str:
        if isinstance(self._address, Path):
            return f"unix:{self._address}"
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{METRICS_PATH}"

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._connections >= _MOST_CONNECTIONS:
                return
            self._connections += 1
            try:
                await self._answer_all(stream)
            except (trio.BrokenResourceError, trio.TooSlowError, h11.ProtocolError):
                return
            except Exception:  # noqa: BLE001 - no caller's request may end the server
                _log.exception("internal error in an answer with metrics")
            finally:
                self._connections -= 1

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)
        while True:
            with trio.fail_after(_IDLE_S):
                request = await _next_request(connection, stream)
            if request is None:
                return
            with trio.fail_after(_REPLY_S):
                status, body, content_type = await self._reply(request)
                await stream.send_all(_encoded(connection, status, body, content_type, request.method))
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    async def _reply(self, request: h11.Request) -> tuple[int, bytes, str]:
        """Return the status, the body and the content type of the reply to a request."""
        headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
        if not isinstance(self._address, Path) and _host(headers.get("host", "")) not in _LOCAL_NAMES:
            return 403, b"ask by an address of this machine, such as 127.0.0.1\n", "text/plain"
        if request.method not in {b"GET", b"HEAD"}:
            return 405, b"only GET\n", "text/plain"
        if request.target.partition(b"?")[0].decode("latin-1") != METRICS_PATH:
            return 404, b"the metrics are at /metrics\n", "text/plain"
        body, content_type = await self._scrape(headers.get("accept", ""))
        return 200, body, content_type


async def _next_request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """Return the next request, without its body; None when the caller has hung up. Raises h11.ProtocolError."""
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_MOST_HEAD_BYTES))
        elif isinstance(event, h11.Request):
            request = event
        else:  # the end of the request or of the connection, or a body, which a scrape has not
            return request if isinstance(event, h11.EndOfMessage) else None


def _encoded(connection: h11.Connection, status: int, body: bytes, content_type: str, method: bytes) -> bytes:
    headers = [("content-type", content_type), ("content-length", str(len(body))), ("cache-control", "no-store")]
    parts = [connection.send(h11.Response(status_code=status, headers=headers))]
    if method != b"HEAD":
        parts.append(connection.send(h11.Data(data=body)))
    parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)


def _host(header: str) -> str:
    """Return the host of a Host header, without its port."""
    host = header.rpartition("]")[0].removeprefix("[") if header.startswith("[") else header.partition(":")[0]
    return host.lower()


@contextlib.contextmanager
def _listening(address: Path | tuple[str, int]) -> Iterator[socket.socket]:
    if isinstance(address, Path):
        with _listening_at(address) as sock:
            yield sock
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_MOST_CONNECTIONS)
        yield sock


@contextlib.contextmanager
def _listening_at(path: Path) -> Iterator[socket.socket]:
    """Yield a unix socket, 0600 before anybody can connect. Raises OSError for a path where something else is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        if path.is_socket() and not _is_served(path):
            path.unlink()
        with short_address(path) as address:
            sock.bind(address)
        try:
            path.chmod(0o600)
            sock.listen(_MOST_CONNECTIONS)
            yield sock
        finally:
            path.unlink(missing_ok=True)


def _is_served(path: Path) -> bool:
    """Return whether a process listens at a socket: another mount, with the same setting."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, contextlib.suppress(OSError):
        sock.settimeout(_ASK_S)
        with short_address(path) as address:
            sock.connect(address)
        return True
    return False
