"""Sockets that are read in large pieces: each piece costs the same work, however many bytes it has."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import trio

from remotefs.api.http import httpcore

# What a socket is asked for at a time. httpcore asks for 64 KiB, which a fast connection has several times over.
_READ_BYTES = 512 * 1024
# Fewer are not worth a wait. Nor is more than this part of the socket's buffer, for the sender must not come to a halt.
_WORTH_WAITING_BYTES = 64 * 1024
_BUFFER_PARTS = 4
# A connection that takes longer for them is slow, and each piece of it may be what somebody waits for.
_GATHER_S = 0.02


class LargeReads(httpcore.AsyncNetworkBackend):
    """httpcore's own backend for trio, but for the size of its reads."""

    def __init__(self) -> None:
        self._inner = httpcore.TrioBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection by TCP."""
        return Connection(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection on this machine."""
        return Connection(await self._inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)


class Connection(httpcore.AsyncNetworkStream):
    """httpcore's own stream, but for the size of its reads."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._secure: ssl.SSLObject | None = inner.get_extra_info("ssl_object")
        self._expected = 0

    def expect(self, size: int) -> None:
        """The next read need not return before so many bytes are here, if they come soon."""
        self._expected = size

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Up to so many bytes, or more; no more than were expected, so that they need not be cut."""
        size, self._expected = self._expected, 0
        if self._secure is None and size > _WORTH_WAITING_BYTES:
            await _gather(self._inner.get_extra_info("socket"), size)
            return await self._inner.read(size, timeout)
        data = await self._inner.read(max(max_bytes, _READ_BYTES), timeout)
        return data if self._secure is None else data + _decrypted(self._secure)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """See AsyncNetworkStream."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """See AsyncNetworkStream."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """See AsyncNetworkStream."""
        return Connection(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """See AsyncNetworkStream."""
        return self._inner.get_extra_info(info)


async def _gather(sock: trio.socket.SocketType, size: int) -> None:
    """Wait a moment for so many bytes, or as many as the kernel keeps well: it need not wake us for each segment."""
    with suppress(OSError, trio.ClosedResourceError):  # the read that follows tells
        size = min(size, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _BUFFER_PARTS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        try:
            with trio.move_on_after(_GATHER_S):
                await trio.lowlevel.wait_readable(sock)
        finally:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _decrypted(secure: ssl.SSLObject) -> bytes:
    """What came with the record that was read: each read of a TLS stream gives one record, of 16 KiB."""
    records = []
    with suppress(ssl.SSLError):  # no more is here; or what the next read will say again
        while record := secure.read(_READ_BYTES):
            records.append(record)
    return b"".join(records)
