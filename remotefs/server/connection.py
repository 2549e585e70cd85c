"""One connection of a client: uvicorn's protocol, with bounds for what comes before the key.

uvicorn with httptools has no limit for the length of a request's head, none for the time that it may take, and its
limit of connections counts the half-open ones too, so that they would lock everybody out. `Door` decides who stays.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from remotefs.server.door import Door
from remotefs.server.errors import ApiError, envelope
from remotefs.server.store import random_text

# A listing of 100 ids has about 5 KB; other servers take 8 to 64 KiB.
_HEAD_BYTES = 32 << 10
# Requests that are sent ahead while one is answered. uvicorn keeps all of them in memory.
_PIPELINED = 16
_PHRASES = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}
_RETRY_AFTER_S = 1


class Connection(HttpToolsProtocol):
    """A connection that is closed when its request's head is too long, or when `door` says so."""

    def __init__(
        self,
        door: Door[Connection],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._progressed = False
        # Bytes that came in a row and completed no head and brought no byte of a body.
        self._fruitless_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        """Take a new connection in; for it, one that waits may have to go."""
        super().connection_made(transport)
        displaced = self._door.enter(self, self.loop.time())
        if displaced is self:
            self._refuse(503, "All connections of this server are in use", f"retry-after: {_RETRY_AFTER_S}\r\n")
        elif displaced is not None:
            displaced.transport.abort()
            self._door.leave(displaced)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request; close the connection when a head, or anything else that is no body, is too long."""
        self._progressed = False
        super().data_received(data)
        self._fruitless_bytes = 0 if self._progressed else self._fruitless_bytes + len(data)
        if self._fruitless_bytes > _HEAD_BYTES:
            self._refuse(431, f"The head of a request has at most {_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Begin a request; the application finds this connection in its scope."""
        super().on_message_begin()
        self.scope["remotefs.connection"] = self  # type: ignore[typeddict-unknown-key]  # a key of our own

    def on_headers_complete(self) -> None:
        """Start to answer a request, or queue it behind the one before."""
        self._progressed = True
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests that were sent ahead")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a request's body."""
        self._progressed = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        if not self.transport.is_closing():
            self._door.wait(self, self.loop.time())
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, unless that would end up in the middle of another reply."""
        if self._is_answering():
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def admit(self) -> None:
        """Note that the request that is being answered has the key (the application calls this)."""
        if not self.transport.is_closing():
            self._door.serve(self)

    def expire(self) -> None:
        """Close the connection, because its request did not come in time."""
        if self.transport.is_closing():
            # It was closed before, and its client does not take the end of the reply.
            self.transport.abort()
        self._refuse(408, "The request did not come in time")

    def _is_answering(self) -> bool:
        # None until the first request, whatever uvicorn declares.
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _refuse(self, status: int, message: str, headers: str = "") -> None:
        if self.transport.is_closing():
            return
        if self._is_answering():
            self.transport.abort()
            return
        body = msgspec.json.encode(envelope(ApiError(status, message), "req_" + random_text(24)))
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n{headers}\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
