"""The scripted server within the loop of the test: a case with a hundred requests takes a tenth of a second.

`tests.faults` runs the server in a thread, which trio's driven clock does not see: each jump of the clock has to wait
until the thread is idle for sure. Here server and mount share one loop and one clock, so time jumps as soon as no task
can go on, and the timeouts of the mount are those that it really has.

An action (tests/faults.py) gets a `Call` whose `transport` writes any bytes: what h11 would refuse too.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

import h11
import trio
import trio.testing
from anyio import to_thread as anyio_threads
from starlette.types import ASGIApp, Message

from remotefs.server import Settings, Store
from remotefs.server.app import make_app
from tests.faults import KEY, FaultyServer, Script, _Spoiled

# Of one write to a socket, so that a client that stops reading is noticed.
_PIECE = 64 << 10
# Real seconds between two looks while a thread is at work.
_THREAD_S = 0.0002


class Clock(trio.abc.Clock):
    """A clock of virtual time, which somebody moves, as `jumping` does."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self.now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self.now_s else 999_999.0


async def jumping(clock: Clock) -> None:
    """Let the clock jump to the next deadline whenever no task can go on and no thread is at work."""
    ours = trio.to_thread.current_default_thread_limiter()
    servers = anyio_threads.current_default_thread_limiter()
    while True:
        await trio.testing.wait_all_tasks_blocked()
        if ours.borrowed_tokens or servers.borrowed_tokens:
            await trio.testing.wait_all_tasks_blocked(_THREAD_S)
            continue
        ahead_s = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if 0.0 < ahead_s < math.inf:
            clock.now_s += ahead_s
        else:
            await trio.testing.wait_all_tasks_blocked(_THREAD_S)


@dataclass(eq=False)
class Wire:
    """The server's side of one connection, as actions write to it without HTTP."""

    stream: trio.abc.Stream
    # Bytes that the client took of the replies.
    sent: int = 0
    is_closing: bool = False
    _waiting: list[bytes] = field(default_factory=list)

    def write(self, content: bytes) -> None:
        """Have bytes sent, in the order of the calls."""
        self._waiting.append(content)

    def close(self) -> None:
        """End the connection after what was written."""
        self.is_closing = True

    def abort(self) -> None:
        """End the connection at once."""
        self._waiting.clear()
        self.is_closing = True

    async def send(self, content: bytes) -> None:
        """Send bytes now."""
        for at in range(0, len(content), _PIECE):
            piece = content[at : at + _PIECE]
            await self.stream.send_all(piece)
            self.sent += len(piece)

    async def flush(self) -> None:
        """Send what was written."""
        while self._waiting:
            await self.send(self._waiting.pop(0))


class Served:
    """One connection: requests parsed by h11, replies written by hand."""

    def __init__(self, app: ASGIApp, stream: trio.abc.Stream, most_files: Callable[[], int | None]) -> None:
        self._app = app
        self._most_files = most_files
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        self.wire = Wire(stream)
        self._body_over = False
        self._chunked = False
        self._is_whole = False

    async def run(self) -> None:
        """Answer until the connection ends."""
        try:
            while isinstance(head := await self._event(), h11.Request):
                self._body_over = self._is_whole = False
                await self._app(self._scope(head), self._receive, self._send)
                await self.wire.flush()
                if self.wire.is_closing or not self._is_whole or not await self._is_over():
                    break
                self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self.wire.stream)

    async def _is_over(self) -> bool:
        """Read the rest of the request; return whether it came whole."""
        while not self._body_over:
            if (await self._receive())["type"] == "http.disconnect":
                return False
        return True

    async def _event(self) -> Any:
        while (event := self._parser.next_event()) is h11.NEED_DATA:
            self._parser.receive_data(await self.wire.stream.receive_some(_PIECE))
        return event

    def _scope(self, head: h11.Request) -> dict[str, Any]:
        path, _, query = head.target.partition(b"?")
        if (most := self._most_files()) is not None:
            query = re.sub(rb"(?<![a-z])limit=\d{3,}", b"limit=%d" % most, query)
        return {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": head.method.decode(),
            "scheme": "http", "path": path.decode(), "raw_path": path, "query_string": query, "root_path": "",
            "headers": list(head.headers), "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
            "state": {"transport": self.wire},
        }  # fmt: skip

    async def _receive(self) -> Message:
        if self._body_over:
            # It asks whether the client has gone: the next write finds out.
            await trio.sleep_forever()
        try:
            event = await self._event()
        except h11.RemoteProtocolError:  # the client has cut its request
            event = None
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        self._body_over = True
        if isinstance(event, h11.EndOfMessage):
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [(name.lower(), value) for name, value in message.get("headers", ())]
            self._chunked = not any(name == b"content-length" for name, _ in headers)
            if self._chunked:
                headers.append((b"transfer-encoding", b"chunked"))
            lines = b"".join(b"%s: %s\r\n" % pair for pair in headers)
            await self.wire.send(b"HTTP/1.1 %d OK\r\n%s\r\n" % (message["status"], lines))
            return
        body, is_last = message.get("body", b""), not message.get("more_body")
        if self._chunked:
            body = (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + (b"0\r\n\r\n" if is_last else b"")
        await self.wire.send(body)
        self._is_whole = is_last


@dataclass
class Service(FaultyServer):
    """The running server; `wires` are the connections so far."""

    # The longest page of a listing, whatever limit is asked for; None: the limit.
    page_files: int | None = None
    wires: list[Wire] = field(default_factory=list)


@contextmanager
def stored(root: Path, clock: Callable[[], float]) -> Iterator[Store]:
    """The files of a server whose clock shows seconds since the epoch."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(Store(root, clock=clock)) as store:
        yield store


@asynccontextmanager
async def serving(root: Path, clock: Callable[[], float], **settings: Any) -> AsyncIterator[Service]:
    """A server on 127.0.0.1 in this loop, with its files in `root`; its time is `clock`, in seconds since the epoch."""
    script = Script()
    script.date = lambda: formatdate(clock(), usegmt=True)
    with stored(root, clock) as store:
        app = _Spoiled(make_app(store, Settings(**settings), key=KEY), script)
        listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        service = Service(url, store, script, KEY)

        async def answer(stream: trio.SocketStream) -> None:
            served = Served(app, stream, lambda: service.page_files)
            service.wires.append(served.wire)
            await served.run()

        async with trio.open_nursery() as nursery:
            await nursery.start(trio.serve_listeners, answer, [listener])
            yield service
            script.clear()
            nursery.cancel_scope.cancel()
