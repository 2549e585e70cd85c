"""The life of a server: lock the root, listen, sweep, announce, serve, drain."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import uvicorn
from starlette.types import ASGIApp

from remotefs.server.access_log import AccessLog
from remotefs.server.app import make_app
from remotefs.server.connection import Connection
from remotefs.server.door import Door
from remotefs.server.errors import ServerError
from remotefs.server.records import Settings
from remotefs.server.root import Root, Running
from remotefs.server.store import Store

_log = logging.getLogger(__name__)

_BACKLOG = 1024
# asyncio accepts so many connections in each turn of its loop. `Door` sees a connection some turns later, and it takes
# another turn until the one that has to go for it is closed.
_ACCEPTED_AT_ONCE = 16
_UNSEEN_DESCRIPTORS = 6 * _ACCEPTED_AT_ONCE
# Descriptors beside those of connections: the database, logs, the listener, what Python opens.
_OTHER_DESCRIPTORS = 40
_FEWEST_CONNECTIONS = 16
# A connection that is served has two: its socket and its file.
_DESCRIPTORS_EACH = 2
# A client that lost its power or its network is noticed after about two minutes: idle, then probes that nobody answers.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
_SWEEP_EVERY_S = 3600.0
# How records of uvicorn begin that are not worth a line.
_NO_NEWS = ("Cancel ", "Invalid HTTP request", "Unsupported upgrade", "No supported WebSocket")


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address to listen on; with `port` 0 the system chooses a free port."""

    host: str = "127.0.0.1"
    port: int = 0
    # Needed for an address that other machines reach: any of them that has the key can read and delete everything.
    allow_remote: bool = False


def serve(
    root_path: Path, settings: Settings, address: Address, *, key: str | None, exit_with_parent: bool = False
) -> None:
    """Serve until SIGTERM, SIGINT or, with `exit_with_parent`, the end of standard input.

    Prints one line of JSON to standard output once it accepts connections: `url`, `key_file`. Raises ServerError if the
    server cannot start, RootInUse if another server runs on this root.
    """
    root = Root(root_path)
    with ExitStack() as cleanup:
        # The lock comes first and is released last: nobody else uses the store or the announcement in between.
        cleanup.enter_context(root.locked())
        listener = cleanup.enter_context(closing(_listener(address)))
        key, key_file = root.key(key)
        store = cleanup.enter_context(closing(Store(root.path)))
        store.sweep()
        log = cleanup.enter_context(closing(AccessLog(root.requests_log))) if settings.log_requests else None
        app = make_app(store, settings, key=key, log=log)
        running = Running(url=_url(listener), pid=os.getpid(), key_file=None if key_file is None else str(key_file))
        cleanup.enter_context(root.announced(running))
        server = Server(app, settings, on_ready=lambda: _say(running))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        logging.getLogger("python_multipart").setLevel(logging.ERROR)
        if exit_with_parent:
            threading.Thread(target=server.stop_at_end_of_input, daemon=True).start()
        asyncio.run(_serve(server, listener, store))


class Server(uvicorn.Server):
    """A uvicorn server that reports when it is ready. On a signal it stops listening and finishes its requests."""

    def __init__(self, app: ASGIApp, settings: Settings, *, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        self._door: Door[Connection] = Door(_affordable(settings.connections), settings.head_s)
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Connection, self._door),  # type: ignore[arg-type]  # a factory does as well as a class
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then report it by `on_ready`."""
        await super().startup(sockets)
        # asyncio has one number for the connections that the kernel holds ready and for those it accepts at once.
        for listener in sockets or ():
            listener.listen(_BACKLOG)
        self._on_ready()

    async def on_tick(self, counter: int) -> bool:
        """Close overdue connections, ten times a second; return whether to end."""
        for connection in self._door.overdue(asyncio.get_running_loop().time()):
            connection.expire()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for running requests, until the time for it is over or a second SIGINT comes; log how many were cut."""
        await super().shutdown(sockets)
        if count := len(self.server_state.tasks):
            _log.warning("requests that were cut off at the end: %d", count)

    def stop_at_end_of_input(self) -> None:
        """Block until standard input ends, then stop the server; for a thread."""
        while os.read(sys.stdin.fileno(), 4096):
            pass
        self.should_exit = True


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a log record of uvicorn says more than that the end of the server cut a request.

    Malformed requests are no news either: everybody can send them, as many as would fill the disk.
    """
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not str(record.msg).startswith(_NO_NEWS)


def _affordable(connections: int) -> int:
    """Return how many connections there may be, at most `connections`, so that descriptors never run out.

    Without a free descriptor nothing is accepted, and so nothing is refused either. Raises ServerError if there are too
    few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = _UNSEEN_DESCRIPTORS + _OTHER_DESCRIPTORS
    wanted = connections * _DESCRIPTORS_EACH + reserved
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    affordable = min(connections, (soft - reserved) // _DESCRIPTORS_EACH)
    if affordable < min(connections, _FEWEST_CONNECTIONS):
        needed = reserved + _FEWEST_CONNECTIONS * _DESCRIPTORS_EACH
        raise ServerError(f"a server needs {needed} open files, and only {hard} are allowed: raise `ulimit -n`")
    return affordable


async def _serve(server: Server, listener: socket.socket, store: Store) -> None:
    sweeper = asyncio.create_task(_sweep_for_ever(store))
    try:
        await server.serve([listener])
    finally:
        sweeper.cancel()


async def _sweep_for_ever(store: Store) -> None:
    while True:
        await asyncio.sleep(_SWEEP_EVERY_S)
        await asyncio.to_thread(store.sweep)


def _listener(address: Address) -> socket.socket:
    if not address.allow_remote and not _is_loopback(address.host):
        raise ServerError(f"{address.host} can be reached from other machines; add --allow-remote if you want that")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # asyncio sets TCP_NODELAY only on sockets that were made with IPPROTO_TCP. Without it each small reply on a
        # kept connection waits 40 ms for an ACK.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _notice_lost_peers(listener)
        listener.bind(place)
    except OSError as error:
        raise ServerError(f"cannot listen on {address.host} port {address.port}: {error.strerror}") from error
    return listener


def _notice_lost_peers(listener: socket.socket) -> None:
    # Connections inherit the options of their listener.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(running: Running) -> None:
    line = msgspec.json.encode({"url": running.url, "key_file": running.key_file}).decode()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
