"""The local server with a script of faults before it, on a real socket, in a thread of its own.

    with faulty_server(tmp_path) as server:
        rule = server.script.add(LostReply(), op="upload", nth=2)
        ...
        assert rule.hits == 1

`serve_faulty` is the same for `async with`. The thread has its own loop, so the test may block (a real mount in this
process) or run on trio with a clock of its own. The script can be changed at any time, from any thread.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio
import trio
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from remotefs.server import Settings, Store
from remotefs.server.app import make_app

KEY = "sk-test-key"
# What a test waits for a request or for the server at most, in seconds.
PATIENCE_S = 20.0
# Between two looks at whether a held request was released, in seconds.
_LOOK_S = 0.002


@dataclass(frozen=True)
class Request:
    """A request as it came in. `op`: upload, list, metadata, content, delete or other."""

    op: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass
class Rule:
    """Do `action` with requests of `op` that fulfil `when`.

    From the `nth` of them on (1, 2, …), `times` times; None: for ever.
    """

    action: Action
    op: str | None = None
    nth: int = 1
    times: int | None = 1
    when: Callable[[Request], bool] = lambda request: True
    seen: int = 0
    hits: int = 0
    _arrived: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def matches(self, request: Request) -> bool:
        """Whether this request is one to spoil; counts it."""
        if self.op not in (None, request.op) or not self.when(request):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True

    def mark_arrived(self) -> None:
        self._arrived.set()

    def release(self) -> None:
        """Let held requests go on, those to come too."""
        self._released.set()

    def wait_until_hit(self) -> None:
        """Block until a request met this rule (a `Hold`: until it is being held)."""
        assert self._arrived.wait(PATIENCE_S), "no request met the rule"

    async def until_hit(self) -> None:
        """The same on trio; time may pass meanwhile, so that this thread is not among those that are at work."""
        watchers = trio.CapacityLimiter(1)
        await trio.to_thread.run_sync(self.wait_until_hit, abandon_on_cancel=True, limiter=watchers)

    async def released(self) -> None:
        """On the server's loop: wait for `release`."""
        while not self._released.is_set():  # noqa: ASYNC110 -- set by another thread
            await anyio.sleep(_LOOK_S)


class Script:
    """The rules, first match wins, and the requests that were seen.

    `date` is the service's clock, None for none; headers in `hidden` are in no reply, as behind a gateway.
    """

    def __init__(self) -> None:
        self.hidden: frozenset[str] = frozenset()
        self.date: Callable[[], str | None] = lambda: formatdate(usegmt=True)
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._requests: list[Request] = []
        self._at_work = 0

    def add(self, action: Action, **conditions: Any) -> Rule:
        """A new rule, after those that are there; the conditions are Rule's fields."""
        rule = Rule(action, **conditions)
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Forget a rule and let go what it holds."""
        with self._lock:
            self._rules.remove(rule)
        rule.release()

    def clear(self) -> None:
        """Forget all rules and let go what they hold."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()

    def requests(self, op: str | None = None) -> list[Request]:
        """What came in so far, oldest first."""
        with self._lock:
            return [request for request in self._requests if op in (None, request.op)]

    def forget_requests(self) -> None:
        """Drop what came in so far, which would fill the memory in a run of hours."""
        with self._lock:
            self._requests.clear()

    def count(self, op: str | None = None) -> int:
        """How many came in so far."""
        return len(self.requests(op))

    @property
    def is_at_work(self) -> bool:
        """Whether the server has a request that nothing but its own work keeps from an answer."""
        return self._at_work > 0

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """The server works on a request."""
        with self._lock:
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1

    def rule_for(self, request: Request) -> Rule | None:
        with self._lock:
            self._requests.append(request)
            return next((rule for rule in self._rules if rule.matches(request)), None)


@dataclass
class Call:
    """One request at the mercy of an action."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rule: Rule

    @property
    def transport(self) -> asyncio.Transport:
        return self.scope["state"]["transport"]

    async def carry_out(self, send: Send | None = None) -> None:
        """Let the server do it."""
        await self.app(self.scope, self.receive, send or self.send)

    async def whole_reply(self) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Let the server do it and catch the reply; there is none where the client has gone meanwhile."""
        caught: list[Message] = []

        async def catch(message: Message) -> None:
            caught.append(message)

        await self.carry_out(catch)
        body = b"".join(message.get("body", b"") for message in caught[1:])
        return (caught[0]["status"], list(caught[0]["headers"]), body) if caught else (499, [], b"")

    async def reply(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer, the length of `body` being the announced one."""
        kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        kept.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": kept})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def read_request(self, at_most: int | None = None) -> None:
        """Read the request's body, or that much of it."""
        count = 0
        while at_most is None or count < at_most:
            message = await self.receive()
            count += len(message.get("body", b""))
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def write_raw(self, content: bytes) -> None:
        """Send bytes that no HTTP library would let through, then close."""
        self.transport.write(content)
        self.transport.close()


class Action:
    """What to do with a request."""

    # Whether it takes longer than the server's own work does.
    waits = False

    async def __call__(self, call: Call) -> None:
        raise NotImplementedError


@dataclass
class Pass(Action):
    """Nothing: a rule that only counts and announces."""

    async def __call__(self, call: Call) -> None:
        await call.carry_out()


@dataclass
class Reply(Action):
    """Answer with this and carry nothing out.

    `body`: JSON when it is a mapping; None: the error envelope of `status`.
    """

    status: int
    body: bytes | Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, call: Call) -> None:
        await call.read_request()
        body = _error_body(self.status) if self.body is None else self.body
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if isinstance(body, bytes) else {"content-type": "application/json"}
        await call.reply(self.status, _raw_headers(kind | dict(self.headers)), content)


def html_too_large() -> Reply:
    """413 as a proxy says it."""
    page = b"<html><head><title>413 Request Entity Too Large</title></head><body>nginx</body></html>"
    return Reply(413, page, {"content-type": "text/html"})


@dataclass
class HalfBody(Action):
    """Carry out, and answer with the first half of the body, announced as whole: half JSON."""

    async def __call__(self, call: Call) -> None:
        status, headers, body = await call.whole_reply()
        await call.reply(status, headers, body[: len(body) // 2])


@dataclass
class EditJson(Action):
    """Carry out, and change the reply's JSON: `edit` gets it and gives what is sent instead."""

    edit: Callable[[Any], Any]

    async def __call__(self, call: Call) -> None:
        status, headers, body = await call.whole_reply()
        await call.reply(status, headers, json.dumps(self.edit(json.loads(body))).encode())


def repeated_cursor() -> EditJson:
    """Pages whose cursor to the next one is always the first that was given; use with `times=None`."""
    first: dict[str, Any] = {}

    def edit(page: dict[str, Any]) -> dict[str, Any]:
        cursors = {name: page[name] for name in ("next_page", "last_id") if name in page}
        first.update({name: value for name, value in cursors.items() if name not in first})
        return page | {name: first[name] for name in cursors} | ({"has_more": True} if "has_more" in page else {})

    return EditJson(edit)


@dataclass
class CutBody(Action):
    """Carry out, announce the true length, and close after this many bytes of the body."""

    after_bytes: int

    async def __call__(self, call: Call) -> None:
        left = self.after_bytes

        async def send(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if message["type"] == "http.response.body" and len(body) >= left:
                await call.send(message | {"body": body[:left], "more_body": True})
                call.transport.close()
            if message["type"] == "http.response.body":
                left -= len(body)
            if left > 0 or message["type"] == "http.response.start":
                await call.send(message)

        await call.carry_out(send)


@dataclass
class WrongLength(Action):
    """Carry out, and announce `delta` bytes more (or less) than are sent; the connection closes after them."""

    delta: int

    async def __call__(self, call: Call) -> None:
        status, headers, body = await call.whole_reply()
        kept = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        kept.append((b"content-length", str(len(body) + self.delta).encode()))
        head = b"".join(b"%s: %s\r\n" % pair for pair in kept)
        call.write_raw(b"HTTP/1.1 %d Status\r\n%s\r\n%s" % (status, head, body))


@dataclass
class Raw(Action):
    """Send these bytes as the reply and close."""

    content: bytes

    async def __call__(self, call: Call) -> None:
        await call.read_request()
        call.write_raw(self.content)


@dataclass
class LostReply(Action):
    """Carry out, then close the connection without an answer."""

    async def __call__(self, call: Call) -> None:
        await call.whole_reply()
        call.abort()


@dataclass
class Drop(Action):
    """Close the connection, carrying nothing out, after this much of the request's body was read."""

    after_request_bytes: int = 0

    async def __call__(self, call: Call) -> None:
        await call.read_request(self.after_request_bytes)
        call.abort()


@dataclass
class Hold(Action):
    """Wait for the rule's `release` before carrying out; with `after_bytes`, after that much of the reply's body."""

    waits = True

    after_bytes: int | None = None

    async def __call__(self, call: Call) -> None:
        if self.after_bytes is None:
            call.rule.mark_arrived()
            await call.rule.released()
            await call.carry_out()
        else:
            await call.carry_out(self._holding(call, self.after_bytes))

    def _holding(self, call: Call, left: int) -> Send:
        async def send(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if message["type"] == "http.response.body" and 0 <= left <= len(body):
                await call.send(message | {"body": body[:left], "more_body": True})
                message = message | {"body": body[left:]}
                call.rule.mark_arrived()
                await call.rule.released()
            left -= len(body) if message["type"] == "http.response.body" else 0
            await call.send(message)

        return send


@dataclass
class HoldReply(Action):
    """Carry out, and wait for the rule's `release` before the answer."""

    waits = True

    async def __call__(self, call: Call) -> None:
        status, headers, body = await call.whole_reply()
        call.rule.mark_arrived()
        await call.rule.released()
        await call.reply(status, headers, body)


@dataclass
class Throttle(Action):
    """Carry out, and take the request's body no faster than a line of so many bytes a second would bring it."""

    waits = True

    bytes_per_s: float

    async def __call__(self, call: Call) -> None:
        async def receive() -> Message:
            message = await call.receive()
            await anyio.sleep(len(message.get("body", b"")) / self.bytes_per_s)
            return message

        await call.app(call.scope, receive, call.send)


@dataclass
class LateCommit(Action):
    """Close the connection without an answer, and carry the request out so many seconds later."""

    waits = True

    after_s: float

    async def __call__(self, call: Call) -> None:
        messages: list[Message] = []
        while not messages or messages[-1].get("more_body"):
            messages.append(await call.receive())
        call.abort()
        await anyio.sleep(self.after_s)
        replay = iter(messages)

        async def receive() -> Message:
            return next(replay, {"type": "http.disconnect"})

        async def nobody(_: Message) -> None:
            pass

        await call.app(call.scope, receive, nobody)


@dataclass
class LingeringDelete(Action):
    """Say that the file is deleted, and delete it so many seconds later: until then it answers and is listed."""

    waits = True

    after_s: float

    async def __call__(self, call: Call) -> None:
        file_id = call.scope["path"].rpartition("/")[2]
        body = json.dumps({"id": file_id, "type": "file_deleted"}).encode()
        await call.reply(200, _raw_headers({"content-type": "application/json"}), body)
        await anyio.sleep(self.after_s)
        await call.whole_reply()


def lagging_listing(lag_s: float, now_s: Callable[[], float] = time.time) -> EditJson:
    """A listing that lacks what was made in the last `lag_s` seconds; `now_s` in seconds since the epoch."""

    def edit(page: dict[str, Any]) -> dict[str, Any]:
        newest = datetime.fromtimestamp(now_s() - lag_s, UTC)
        seen = [file for file in page["data"] if datetime.fromisoformat(file["created_at"]) <= newest]
        return page | {"data": seen}

    return EditJson(edit)


@dataclass
class Mixture(Action):
    """One of `actions` for that part of the requests that `rate` says, else `usual`."""

    waits = True

    rate: float
    actions: tuple[Action, ...]
    chance: random.Random
    usual: Action = field(default_factory=Pass)
    spoiled: int = 0

    async def __call__(self, call: Call) -> None:
        if self.chance.random() >= self.rate:
            await self.usual(call)
            return
        self.spoiled += 1
        await self.chance.choice(self.actions)(call)


@dataclass
class FaultyServer:
    """A running server; `store` may be used directly, to make files as others would."""

    url: str
    store: Store
    script: Script
    key: str = KEY

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.key}


@contextmanager
def faulty_server(
    root: Path,
    script: Script | None = None,
    *,
    front: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    **settings: Any,
) -> Iterator[FaultyServer]:
    """A server on 127.0.0.1 with its files in `root`; `settings` are those of `remotefs.server.Settings`.

    `front` puts an application before it and its script.
    """
    script = script or Script()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        store = cleanup.enter_context(closing(Store(root)))
        app = front(_Spoiled(make_app(store, Settings(**settings), key=KEY), script))
        listener = cleanup.enter_context(_listener())
        host = _Host(app, listener)
        cleanup.callback(host.stop)
        cleanup.callback(script.clear)
        yield FaultyServer(_url(listener), store, script)


@asynccontextmanager
async def serve_faulty(root: Path, script: Script | None = None, **settings: Any) -> AsyncIterator[FaultyServer]:
    """`faulty_server` for `async with`."""
    with faulty_server(root, script, **settings) as server:
        yield server


class _Spoiled:
    """The ASGI application with the script before it."""

    def __init__(self, app: ASGIApp, script: Script) -> None:
        self._app = app
        self._script = script

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule, send = self._script.rule_for(_request(scope)), self._with_headers(send)
        with nullcontext() if rule is not None and rule.action.waits else self._script.at_work():
            if rule is None:
                await self._app(scope, receive, send)
                return
            if not isinstance(rule.action, Hold | HoldReply):
                rule.mark_arrived()
            await rule.action(Call(self._app, scope, receive, send, rule))

    def _with_headers(self, send: Send) -> Send:
        """Give a reply the Date that the script says, if it has none, and take away what is hidden."""

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = {name.lower(): value for name, value in message.get("headers", ())}
                if (date := self._script.date()) is not None:
                    headers.setdefault(b"date", date.encode())
                shown = [pair for pair in headers.items() if pair[0].decode() not in self._script.hidden]
                message = message | {"headers": shown}
            await send(message)

        return changed


class _Connection(H11Protocol):
    """uvicorn's, with the transport handed to the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _Host:
    """A loop in a thread that serves connections with uvicorn's protocol, and ends at once when told."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, log_level=60, access_log=False)
        self._config.load()
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="faulty server")
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        state = ServerState()
        server = await self._loop.create_server(
            lambda: _Connection(config=self._config, server_state=state, app_state={}, _loop=self._loop),
            sock=self._listener,
        )
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in state.tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()  # type: ignore[union-attr]  # HTTP/1.1 connections alone are made here
        await asyncio.gather(*state.tasks, return_exceptions=True)


def _listener() -> socket.socket:
    # The protocol has to be named: only then asyncio sets TCP_NODELAY on what it accepts.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    return listener


def _url(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _request(scope: Scope) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(
        _op(scope["method"], scope["path"]), scope["method"], scope["path"], scope["query_string"].decode(), headers
    )


def _op(method: str, path: str) -> str:
    parts = path.removeprefix("/v1/files").strip("/").split("/")
    if not path.startswith("/v1/files") or len(parts) > 2 or (len(parts) == 2 and parts[1] != "content"):
        return "other"
    shapes = {("POST", False): "upload", ("GET", False): "list", ("GET", True): "metadata", ("DELETE", True): "delete"}
    return "content" if len(parts) == 2 else shapes.get((method, bool(parts[0])), "other")


def _raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def _error_body(status: int) -> dict[str, Any]:
    kinds = {400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error"}
    kinds |= {404: "not_found_error", 409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error"}
    kinds |= {504: "timeout_error", 529: "overloaded_error"}
    error = {"type": kinds.get(status, "api_error"), "message": f"scripted {status}"}
    return {"type": "error", "error": error, "request_id": "req_scripted"}
