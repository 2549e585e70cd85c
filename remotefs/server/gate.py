"""The work around every handler: key, request limit, common headers, error replies, the access log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from remotefs.server.access_log import AccessLog, Entry
from remotefs.server.errors import ApiError, envelope
from remotefs.server.limits import Bucket, is_authorized
from remotefs.server.store import random_text

# A client that sends its whole body before it reads the reply loses a refusal that comes early. So the rest of the
# body, up to this many bytes, is read and dropped before the refusal is sent: a whole file of one who has the key, and
# little of one who has not. What is left then is cut off by closing the connection.
_DRAIN_BYTES = 1 << 30
_DRAIN_OF_STRANGERS_BYTES = 1 << 20
# The longest part of a path that is logged: those who have no key choose it too.
_LOGGED_PATH = 512
_CLIENT_WENT = 499
_WRONG_METHOD = 405

logger = logging.getLogger("remotefs.server")


class Gate:
    """The outermost ASGI application. It answers each request, and every exception becomes an error reply."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        key: str,
        organization_id: str,
        bucket: Bucket | None,
        log: AccessLog | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._key = key
        self._organization_id = organization_id
        self._bucket = bucket
        self._log = log
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the ASGI entry point)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send, self._reply_headers)
        try:
            await self._answer(exchange)
        finally:
            if self._log is not None:
                self._log.write(exchange.entry(self._clock()))

    async def _answer(self, exchange: Exchange) -> None:
        try:
            self._check_key(Headers(scope=exchange.scope))
            exchange.admit()
            self._check_limit()
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except ApiError as error:
            await exchange.refuse(error)
        except HTTPException as error:
            await exchange.refuse(ApiError(error.status_code, error.detail, headers=error.headers))
        except ClientDisconnect:
            exchange.status = _CLIENT_WENT
        except Exception:
            logger.exception("request %s failed", exchange.request_id)
            await exchange.refuse(ApiError(500, "Internal server error"))

    def _check_key(self, headers: Headers) -> None:
        # The key comes first: a request without it takes no token from the limit of the others.
        if not is_authorized(self._key, headers.get("x-api-key"), headers.get("authorization")):
            raise ApiError(401, "invalid x-api-key")

    def _check_limit(self) -> None:
        if self._bucket is not None and not self._bucket.take(self._clock()):
            wait = {"retry-after": str(self._bucket.retry_after_s(self._clock()))}
            raise ApiError(429, "Too many requests for this organization", headers=wait)

    def _reply_headers(self) -> dict[str, str]:
        rate = self._bucket.headers(self._clock()) if self._bucket is not None else {}
        return {"anthropic-organization-id": self._organization_id, **rate}


class Exchange:
    """One request and its reply."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: Callable[[], dict[str, str]]) -> None:
        self.scope = scope
        self.request_id = "req_" + random_text(24)
        self.status = 0
        self._receive = receive
        self._send = send
        self._headers = headers
        self._sent_bytes = 0
        self._drain_bytes = _DRAIN_OF_STRANGERS_BYTES
        self._body_done = not _has_body(Headers(scope=scope))
        # With an `app` in the scope starlette raises HTTPException for 404 and 405. Without one it would answer them
        # itself, in plain text.
        scope["app"] = self

    def admit(self) -> None:
        """Note that the request has the key; its connection learns it too."""
        self._drain_bytes = _DRAIN_BYTES
        # None under another server than `run`'s, and in tests of the application alone.
        connection: Any = self.scope.get("remotefs.connection")
        if connection is not None:
            connection.admit()

    async def receive(self) -> Message:
        """Return the next message of the request."""
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_done = True
        return message

    async def send(self, message: Message) -> None:
        """Send a message of the reply, with the headers that every reply has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["request-id"] = self.request_id
            headers.update(self._headers())
        else:
            self._sent_bytes += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, error: ApiError) -> None:
        """Answer with an error, unless a reply has begun: that one can only be cut short."""
        if self.status:
            return
        await self._drain()
        body = msgspec.json.encode(envelope(error, self.request_id))
        headers = error.headers if self._body_done else error.headers | {"connection": "close"}
        reply = Response(body, error.status, headers, media_type="application/json")
        await reply(self.scope, self.receive, self.send)

    def entry(self, now: float) -> Entry:
        """Return the line of the access log; `now` in seconds since the epoch."""
        route: Any = self.scope.get("route")
        return Entry(
            time=now,
            method=self.scope["method"],
            path=self.scope["path"][:_LOGGED_PATH],
            op="other" if route is None or self.status == _WRONG_METHOD else route.name,
            status=self.status,
            file_id=self.scope.get("remotefs.file_id") or self.scope.get("path_params", {}).get("file_id"),
            bytes=self._sent_bytes,
            request_id=self.request_id,
        )

    async def _drain(self) -> None:
        dropped = 0
        while not self._body_done and dropped < self._drain_bytes:
            dropped += len((await self.receive()).get("body", b""))


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
