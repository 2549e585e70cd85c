"""Sockets that are read in large pieces: a piece costs the same work in Python, however many bytes it has.

They also bound the head of a reply. httpcore waits for each read of its own and skips interim replies (1xx) without
counting them, so a service could hold a request for ever with a byte a minute, or take the processor with a flood of
interim replies. Only the socket sees all of these.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import trio

from remotefs.api.http import httpcore

# The largest read from a socket. httpcore reads 64 KiB at a time; a fast connection has several times that ready.
_READ_BYTES = 512 * 1024
# Fewer bytes are not worth a wait.
_WORTH_WAITING_BYTES = 64 * 1024
# A wait gathers at most this part of the socket's receive buffer: a fuller buffer would make the sender stop.
_BUFFER_PARTS = 4
# Everything before the body of a reply: its head and the interim replies before it. h11 takes no longer head either.
_MOST_HEAD_BYTES = 100 * 1024
# A read before the body brings at most this: it can hold hundreds of interim replies, read without a pause.
_HEAD_READ_BYTES = 16 * 1024
# The longest wait. A connection that needs longer is slow, and a reader may be waiting for its next few bytes.
_GATHER_S = 0.02


class LargeReads(httpcore.AsyncNetworkBackend):
    """httpcore's backend for trio, with larger reads."""

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
        """Open a connection by TCP and return it."""
        return Connection(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Open a connection to a Unix socket and return it."""
        return Connection(await self._inner.connect_unix_socket(path, timeout, socket_options))

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        await self._inner.sleep(seconds)


class Connection(httpcore.AsyncNetworkStream):
    """httpcore's stream, with larger reads, and with a bound on all that comes before the body of a reply.

    Each write begins the wait for a head, and `head_came` ends it. Meanwhile at most 100 KiB are read, and one timeout
    covers all reads together.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._secure: ssl.SSLObject | None = inner.get_extra_info("ssl_object")
        self._expected = 0
        self._most = _READ_BYTES
        self._head: _Head | None = _Head()

    def expect(self, size: int) -> None:
        """Let the next read wait a moment (20 ms) until `size` bytes have come."""
        self._expected = size

    def read_at_most(self, size: int) -> None:
        """Let each read bring at most `size` bytes, 512 KiB at most, until the next request."""
        self._most = min(size, _READ_BYTES)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read and return the next bytes, more than `max_bytes` where they are ready.

        When more than 64 KiB were expected and there is no TLS, it returns at most those, so that the caller need not
        cut them. Raises ReadTimeout and RemoteProtocolError also for a head that is too slow or too long.
        """
        if self._head is not None:
            return await self._read_head(self._head, max_bytes, timeout)
        size, self._expected = self._expected, 0
        # Not for TLS: the bytes in the socket are ciphertext, and others may lie in the SSL object already.
        if self._secure is None and size > _WORTH_WAITING_BYTES:
            await _gather(self._inner.get_extra_info("socket"), size)
            return await self._inner.read(size, timeout)
        data = await self._inner.read(self._most, timeout)
        return data if self._secure is None else data + _decrypted(self._secure)

    async def _read_head(self, head: _Head, max_bytes: int, timeout: float | None) -> bytes:
        if head.received > _MOST_HEAD_BYTES:
            raise httpcore.RemoteProtocolError(f"more than {_MOST_HEAD_BYTES} bytes came and no reply was among them")
        left = head.left_s(timeout)
        if left is not None and left <= 0:
            raise httpcore.ReadTimeout("the head of a reply came too slowly")
        data = await self._inner.read(min(max_bytes, _HEAD_READ_BYTES), left)
        head.received += len(data)
        return data

    def head_came(self) -> None:
        """Note that the head of a reply is here: what follows is its body, which may be long."""
        self._head = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send the bytes (see AsyncNetworkStream)."""
        self._head, self._expected, self._most = _Head(), 0, _READ_BYTES
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection (see AsyncNetworkStream)."""
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt the connection and return the encrypted one (see AsyncNetworkStream)."""
        return Connection(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        """Return a property of the connection (see AsyncNetworkStream)."""
        return self._inner.get_extra_info(info)


class _Head:
    """What has come before the body of a reply: how many bytes, and since when (trio's time) it is waited for."""

    __slots__ = ("_began", "received")

    def __init__(self) -> None:
        self.received = 0
        self._began: float | None = None

    def left_s(self, timeout: float | None) -> float | None:
        """Return what is left of the timeout since the first call, in seconds; None for no limit."""
        if self._began is None:
            self._began = trio.current_time()
        return None if timeout is None else self._began + timeout - trio.current_time()


async def _gather(sock: trio.socket.SocketType, size: int) -> None:
    """Wait at most 20 ms until the socket holds `size` bytes, or a quarter of its receive buffer.

    SO_RCVLOWAT makes the socket readable only at that many bytes (socket(7)), so that the kernel does not wake this
    process for each segment.
    """
    with suppress(OSError, trio.ClosedResourceError):  # the read that follows reports the error
        size = min(size, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _BUFFER_PARTS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        try:
            with trio.move_on_after(_GATHER_S):
                await trio.lowlevel.wait_readable(sock)
        finally:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _decrypted(secure: ssl.SSLObject) -> bytes:
    """Return the bytes that came with the record just read: a read of a TLS stream gives one record of 16 KiB."""
    records = []
    with suppress(ssl.SSLError):  # nothing more is here, or an error that the next read will report
        while record := secure.read(_READ_BYTES):
            records.append(record)
    return b"".join(records)
