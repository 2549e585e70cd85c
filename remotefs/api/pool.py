"""The connection pool behind httpx: httpcore's, on sockets that are read in large pieces.

httpx can build such a pool, but has no argument for the backend that reads from the sockets. So this transport replaces
httpx's own one, and does the rest of its work too: it translates requests, replies and exceptions between httpx and
httpcore (docs/adr/0006-httpx.md).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Self

import msgspec

from remotefs.api.http import httpcore, httpx
from remotefs.api.large_reads import Connection, LargeReads

# Each exception of httpcore has a namesake in httpx. `lost_request` decides by these whether an upload may be repeated.
_SAME: Mapping[type[Exception], type[httpx.TransportError]] = {
    httpcore.TimeoutException: httpx.TimeoutException,
    httpcore.NetworkError: httpx.NetworkError,
    httpcore.ProtocolError: httpx.ProtocolError,
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.ProxyError: httpx.ProxyError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}
_CORE_ERRORS = tuple(_SAME)
_ENDED: tuple[type[Exception], ...] = (StopAsyncIteration, *_CORE_ERRORS)


class PoolLimits(msgspec.Struct, frozen=True):
    """The largest number of connections, how many of them may be idle, and for how long, in seconds."""

    connections: int
    idle_connections: int
    idle_s: float


class Pool(httpx.AsyncBaseTransport):
    """A pool of connections to any address, all through `proxy` if there is one. `backend` opens the sockets."""

    def __init__(
        self,
        secure: ssl.SSLContext,
        limits: PoolLimits,
        proxy: httpx.Proxy | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=secure,
            proxy=None if proxy is None else _core_proxy(proxy, secure),
            max_connections=limits.connections,
            max_keepalive_connections=limits.idle_connections,
            keepalive_expiry=limits.idle_s,
            network_backend=backend or LargeReads(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the head of its reply, with the body still to be read.

        Raises httpx.TransportError.
        """
        # The asynchronous client makes requests with no other kind of body.
        assert isinstance(request.stream, httpx.AsyncByteStream)
        sent = httpcore.Request(
            method=request.method,
            url=_core_url(request.url),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            reply = await self._pool.handle_async_request(sent)
        except _CORE_ERRORS as error:
            raise _in_httpx(error) from error
        if isinstance(connection := reply.extensions.get("network_stream"), Connection):
            connection.head_came()
        return httpx.Response(reply.status, headers=reply.headers, stream=Body(reply), extensions=reply.extensions)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class Body(httpx.AsyncByteStream):
    """The body of a reply; iterate it once.

    It is an iterator and not a generator, because trio warns of a generator that is dropped half read. httpcore's own
    bodies are generators; `aclose` runs them to their end.
    """

    def __init__(self, reply: httpcore.Response) -> None:
        self._reply = reply
        self._pieces: AsyncIterator[bytes] | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        if self._pieces is None:
            self._pieces = self._reply.aiter_stream()
        try:
            return await anext(self._pieces)
        except _CORE_ERRORS as error:
            raise _in_httpx(error) from error

    async def aclose(self) -> None:
        """Return the connection to the pool when the body was read to its end; close it otherwise."""
        if self._closed:
            return
        self._closed = True
        await self._reply.aclose()
        while self._pieces is not None:
            # Nothing more can come from a closed reply, so its generators run to their end.
            try:
                await anext(self._pieces)
            except _ENDED:
                return


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _core_proxy(proxy: httpx.Proxy, secure: ssl.SSLContext) -> httpcore.Proxy:
    """Return the proxy in httpcore's terms. A proxy reached by TLS is checked against the service's certificates."""
    return httpcore.Proxy(
        _core_url(proxy.url),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=secure if proxy.url.scheme == "https" else None,
    )


def _in_httpx(error: Exception) -> httpx.TransportError:
    """Return the error in httpx's terms: the namesake of its most specific class in the table."""
    return next(_SAME[kind] for kind in type(error).__mro__ if kind in _SAME)(str(error))
