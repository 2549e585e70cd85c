"""The life of a server: lock the root, listen, sweep, announce, serve, drain."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn
from starlette.types import ASGIApp

from remotefs.server.access_log import AccessLog
from remotefs.server.app import make_app
from remotefs.server.errors import ServerError
from remotefs.server.records import Settings
from remotefs.server.root import Root, Running
from remotefs.server.store import Store

_log = logging.getLogger(__name__)

_BACKLOG = 1024
_SWEEP_EVERY_S = 3600.0


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
        server = Server(app, settings.drain_s, on_ready=lambda: _say(running))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        logging.getLogger("uvicorn.error").addFilter(_is_no_cut)
        if exit_with_parent:
            threading.Thread(target=server.stop_at_end_of_input, daemon=True).start()
        asyncio.run(_serve(server, listener, store))


class Server(uvicorn.Server):
    """A uvicorn server that reports when it is ready. On a signal it stops listening and finishes its requests."""

    def __init__(self, app: ASGIApp, drain_s: float, *, on_ready: Callable[[], None]) -> None:
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                loop="asyncio",
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(drain_s)),
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then report it by `on_ready`."""
        await super().startup(sockets)
        self._on_ready()

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


def _is_no_cut(record: logging.LogRecord) -> bool:
    """Return whether a log record of uvicorn says more than that the end of the server cut a request."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and not str(record.msg).startswith("Cancel ")


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
        listener.bind(place)
    except OSError as error:
        raise ServerError(f"cannot listen on {address.host} port {address.port}: {error.strerror}") from error
    return listener


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
