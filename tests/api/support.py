"""What the tests of the client share: wire entries, a scripted service behind httpx, and one on a raw socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from remotefs.api.budget import Budget, Priority
from remotefs.api.client import Client
from remotefs.config import Secret, ServiceConfig, Shape

KEY = "sk-test-0123456789-do-not-show"
URGENT = Priority.INTERACTIVE_READ
Answer = httpx.Response | Exception
Handler = Callable[[trio.SocketStream], Coroutine[Any, Any, None]]


def wire_file(file_id: str = "file_1", **changes: Any) -> dict[str, Any]:
    """A file object of the GA shape."""
    return {
        "id": file_id,
        "type": "file",
        "filename": "a.txt",
        "size_bytes": 5,
        "mime_type": "text/plain",
        "created_at": "2026-01-02T03:04:05.5Z",
        "downloadable": False,
        "expires_at": None,
    } | changes


def ga_page(*files: dict[str, Any], next_page: str | None = None) -> httpx.Response:
    return httpx.Response(200, json={"data": list(files), "next_page": next_page})


def beta_page(*files: dict[str, Any], has_more: bool = False) -> httpx.Response:
    ids = [file["id"] for file in files] or [None]
    return httpx.Response(200, json={"data": list(files), "has_more": has_more, "first_id": ids[0], "last_id": ids[-1]})


def problem(status: int, kind: str, code: str | None = None, **headers: str) -> httpx.Response:
    """An error with its envelope; `headers` with `_` for `-`."""
    error: dict[str, Any] = {"type": kind, "message": f"it is {status}"}
    if code is not None:
        error["details"] = {"error_code": code}
    named = {"request-id": f"req_{status}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"type": "error", "error": error, "request_id": f"req_{status}"}, headers=named)


class Script:
    """Answers requests from a list, in order, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Scripted(httpx.AsyncBaseTransport):
    """Answers by calling `answer`; its replies still have to be read, as those from a socket have."""

    def __init__(self, answer: Callable[[httpx.Request], Coroutine[Any, Any, httpx.Response]]) -> None:
        self._inner = httpx.MockTransport(answer)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return unread(await self._inner.handle_async_request(request))


def unread(reply: httpx.Response) -> httpx.Response:
    """The same reply with its body still to come."""
    assert isinstance(reply.stream, httpx.AsyncByteStream)
    return httpx.Response(reply.status_code, headers=reply.headers, stream=_Unread(reply.stream))


class _Unread(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._stream:
            yield piece


def settings(**changes: Any) -> ServiceConfig:
    values: dict[str, Any] = {
        "base_url": "https://files.test",
        "api_key": Secret(KEY),
        "shape": "ga",
        "requests_per_minute": 0,
    }
    return ServiceConfig(**(values | changes))


def scripted(
    script: Callable[[httpx.Request], Any], budget: Budget | None = None, *, learned: Shape = "auto", **changes: Any
) -> Client:
    """A client whose transport is `script`; its waits are not spread."""
    config = settings(**changes)
    budget = budget or Budget.for_service(config)
    return Client(config, budget, transport=Scripted(script), chance=lambda: 0.0, learned=learned)


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncGenerator[str, None]:
    """A loopback socket whose connections `handler` serves; yields the base URL."""

    async def tolerant(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await handler(stream)
            except trio.BrokenResourceError:
                return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, tolerant, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def read_head(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """The head of a request and what of its body came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = await stream.receive_some(65536)
        if not piece:
            raise trio.BrokenResourceError
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def announced_length(head: bytes) -> int:
    lines = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lines[0].split(b":")[1]) if lines else 0


async def read_request(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """A whole request: head and body."""
    head, body = await read_head(stream)
    while len(body) < announced_length(head):
        piece = await stream.receive_some(1 << 20)
        if not piece:
            raise trio.BrokenResourceError
        body += piece
    return head, body


def raw_reply(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
