"""A gateway of the same wire: a server behind a path prefix that keeps the files itself.

Every upload can be downloaded again. The beta header is refused. Content comes in chunks without a length, Range is
ignored, no reply names an account, and a refusal has the envelope of another framework. With `ids` the listing is
paged by ids all the same, as in the beta shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.faults import FaultyServer, faulty_server

PREFIX = "/proxy/anthropic"
_SHOWN = frozenset({b"content-type", b"content-disposition", b"date"})


@dataclass
class Gateway:
    """The application before the one of the files."""

    app: ASGIApp
    ids: bool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        if not scope["path"].startswith(PREFIX + "/v1/"):
            await _refuse(send, 404, "Not Found")
        elif b"anthropic-beta" in dict(headers):
            await _refuse(send, 400, "the legacy Files beta is unsupported")
        else:
            if self.ids:
                headers.append((b"anthropic-beta", b"files-api-2025-04-14"))
            path = scope["path"].removeprefix(PREFIX)
            inner = scope | {"path": path, "raw_path": path.encode(), "headers": headers}
            await self.app(inner, receive, _plain(send))


def _plain(send: Send) -> Send:
    """Let through what the gateway says of a reply: no length, no account, and nothing of why a request is refused."""
    refused = False

    async def passed(message: Message) -> None:
        nonlocal refused
        if refused:
            return
        if message["type"] == "http.response.start" and message["status"] >= 400:
            refused = True
            await _refuse(send, message["status"], "refused")
            return
        if message["type"] == "http.response.start":
            message = message | {"headers": [pair for pair in message["headers"] if pair[0].lower() in _SHOWN]}
        await send(message)

    return passed


async def _refuse(send: Send, status: int, reason: str) -> None:
    await send({
        "type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]
    })  # fmt: skip
    await send({"type": "http.response.body", "body": json.dumps({"detail": reason}).encode()})


@contextmanager
def gateway(root: Path, *, ids: bool = False) -> Iterator[FaultyServer]:
    """A gateway on 127.0.0.1 with its files in `root`; its script sees the requests that it let through."""
    with faulty_server(root, front=lambda app: Gateway(app, ids), empty_files=False) as server:
        yield replace(server, url=server.url + PREFIX)
