"""The pool of connections, as httpx asks for one: httpcore's, on sockets that are read in large pieces.

httpx makes such a pool by itself, but does not hand on the backend that reads from the sockets. What it does besides is
done here: requests and replies change from one library's terms to the other's, and so do exceptions.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Self

import msgspec

from remotefs.api.http import httpcore, httpx
from remotefs.api.large_reads import LargeReads

# Each means what its namesake means.
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
    """How many connections there may be, how many of them idle, and for how long (s)."""

    connections: int
    idle_connections: int
    idle_s: float


class Pool(httpx.AsyncBaseTransport):
    """Connections to any address, all of them through `proxy` if there is one. `backend` makes the sockets."""

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
        """Send a request, wait for the head of its reply; raises httpx.TransportError."""
        # A request of the asynchronous client has no other kind of body.
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
        return httpx.Response(reply.status, headers=reply.headers, stream=Body(reply), extensions=reply.extensions)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pool.aclose()


class Body(httpx.AsyncByteStream):
    """The body of a reply, read once. An iterator, for a generator that is dropped half way is, under trio, a warning.

    httpcore's own are generators; closing unwinds them.
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
        """Give the connection back when the body was read to its end, else close it."""
        if self._closed:
            return
        self._closed = True
        await self._reply.aclose()
        while self._pieces is not None:
            # The generators end by themselves once nothing more can come.
            try:
                await anext(self._pieces)
            except _ENDED:
                return


def _core_url(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _core_proxy(proxy: httpx.Proxy, secure: ssl.SSLContext) -> httpcore.Proxy:
    """The same proxy; one that is encrypted itself is checked as the service is."""
    return httpcore.Proxy(
        _core_url(proxy.url),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=secure if proxy.url.scheme == "https" else None,
    )


def _in_httpx(error: Exception) -> httpx.TransportError:
    """The same error in httpx's terms, as exactly as its classes tell."""
    return next(_SAME[kind] for kind in type(error).__mro__ if kind in _SAME)(str(error))
