"""The network of a simulated world: wires in memory between mounts and the service, which fail as they are told to.

A machine has an address of its own, so that the service's side knows who asks. While a machine is `dead` or `away`, its
connections break and new ones are refused; what the service has received it carries out all the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remotefs.api.http import httpcore
from remotefs.server import Settings
from remotefs.server.app import make_app
from tests.faults import KEY, Action, Call, Request, Script, _Spoiled
from tests.fuzz.service import Served, Service, stored

# Which machine's request the service works on; None: others do something there.
asker: ContextVar[int | None] = ContextVar("asker", default=None)
_FIRST_PORT = 9000


def address(machine: int) -> str:
    """Return the base URL by which a machine reaches the service."""
    return f"http://127.0.0.1:{_FIRST_PORT + machine}"


class _NoSocket:
    """What a stream in memory says of its socket."""

    def getsockopt(self, *_: object) -> int:
        raise OSError("this is no socket")


class Line(httpcore.AsyncNetworkStream):
    """The mount's end of one connection."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream
        self._is_broken = False

    def cut(self) -> None:
        """Break the connection at once, for both sides; what was sent stays sent."""
        self._is_broken = True
        send, receive = self._stream.send_stream, self._stream.receive_stream
        send.close()
        receive.close()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with _translated(httpcore.ReadError, httpcore.ReadTimeout), trio.fail_after(_or_ever(timeout)):
            return bytes(await self._stream.receive_some(max_bytes))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with _translated(httpcore.WriteError, httpcore.WriteTimeout), trio.fail_after(_or_ever(timeout)):
            await self._stream.send_all(buffer)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            # Without a request under way nothing comes but the end.
            return self._is_broken or self._stream.receive_stream._incoming._closed
        return _NoSocket() if info == "socket" else None


@contextmanager
def _translated(broken: type[Exception], late: type[Exception]) -> Any:
    try:
        yield
    except trio.TooSlowError as error:
        raise late(str(error)) from error
    except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise broken(str(error)) from error


def _or_ever(timeout: float | None) -> float:
    return float("inf") if timeout is None else timeout


@dataclass
class Link:
    """The lines of one machine."""

    is_up: bool = True
    lines: list[Line] = field(default_factory=list)

    def cut(self) -> None:
        """Break all lines; none can be made."""
        self.is_up = False
        for line in self.lines:
            line.cut()
        self.lines.clear()

    def mend(self) -> None:
        """Let lines be made again."""
        self.is_up = True


class Network(httpcore.AsyncNetworkBackend):
    """All links, and the service at their other end."""

    def __init__(self, service: Service, answer: Callable[[trio.abc.Stream, int], Any], nursery: trio.Nursery) -> None:
        self.service = service
        self.links: dict[int, Link] = {}
        self._answer = answer
        self._nursery = nursery
        self._context = copy_context()

    def _spawn(self, answer: Callable[..., Any], *args: Any) -> None:
        # A task takes over what its maker's context says of whose it is.
        self._context.copy().run(self._nursery.start_soon, answer, *args)

    def link(self, machine: int) -> Link:
        """Return a new link of a machine that starts, in the place of the one that it had."""
        self.links[machine] = Link()
        return self.links[machine]

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:  # fmt: skip
        machine = port - _FIRST_PORT
        link = self.links[machine]
        await trio.lowlevel.checkpoint()
        if not link.is_up:
            raise httpcore.ConnectError("no route to the service")
        ours, theirs = trio.testing.memory_stream_pair()
        line = Line(ours)
        link.lines.append(line)
        # The service's task is none of the machine's.
        self._spawn(self._answer, theirs, machine)
        return line

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


@asynccontextmanager
async def networked(
    root: Path, clock: Callable[[], float], seen: Callable[[int, str, str, int | None], None], **settings: Any
) -> AsyncIterator[Network]:
    """The service with its files in `root`, and the network to it; `clock` in seconds since the epoch.

    `seen` is told of each request as it comes (None) and of the status that answers it: machine, operation, path.
    """
    script = Script()
    script.date = lambda: formatdate(clock(), usegmt=True)
    with stored(root, clock) as store:
        app = _Spoiled(make_app(store, Settings(**settings), key=KEY), script)
        service = Service(address(0), store, script, KEY)

        async def answer(stream: trio.abc.Stream, machine: int) -> None:
            await Served(_told(app, machine, seen), stream, lambda: service.page_files).run()

        async with trio.open_nursery() as nursery:
            network = Network(service, answer, nursery)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(httpcore, "TrioBackend", lambda: network)
                yield network
            script.clear()
            nursery.cancel_scope.cancel()


def _told(app: ASGIApp, machine: int, seen: Callable[[int, str, str, int | None], None]) -> ASGIApp:
    """Return the application of one machine's connection: each request and its status are told."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        asker.set(machine)
        query = scope["query_string"].decode()
        method, path = scope["method"], scope["path"] + (f"?{query}" if query else "")
        seen(machine, method, path, None)

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen(machine, method, path, message["status"])
            await send(message)

        await app(scope, receive, told)

    return answer


@dataclass
class Late(Action):
    """Carry out after `before_s` seconds, and answer after `after_s` more."""

    waits = True

    before_s: float = 0.0
    after_s: float = 0.0

    async def __call__(self, call: Call) -> None:
        await anyio.sleep(self.before_s)
        status, headers, body = await call.whole_reply()
        await anyio.sleep(self.after_s)
        await call.reply(status, headers, body)


@dataclass
class Silence(Action):
    """Take the request and say nothing for so long, then close; nothing is carried out."""

    waits = True

    for_s: float

    async def __call__(self, call: Call) -> None:
        await call.read_request()
        await anyio.sleep(self.for_s)
        call.abort()


__all__ = ["Late", "Network", "Request", "Silence", "address", "networked"]
