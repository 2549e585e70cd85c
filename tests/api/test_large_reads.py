"""How a body is read from a socket, plain and encrypted: in large pieces, and none held back for long."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trustme

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.config import MIB
from remotefs.errors import ReplyBroken, Unreachable
from tests.api.support import URGENT, Handler, raw_server, read_head, settings

SEGMENT = 8 * 1024
SIZE = 2 * MIB
CONTENT = bytes(range(256)) * (SIZE // 256)
RECORD = 16 * 1024


def head(size: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The server's side; the client trusts it as a user would have it: by SSL_CERT_FILE."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@asynccontextmanager
async def client_of(url: str) -> AsyncGenerator[Client, None]:
    config = settings(base_url=url)
    async with Client(config, Budget.for_service(config), chance=lambda: 0.0) as client:
        yield client


async def pieces_of(url: str, expected: int) -> list[bytes]:
    async with client_of(url) as client, client.download("file_1", priority=URGENT) as reply:
        reply.expect(expected)
        pieces = []
        async for piece in reply:
            pieces.append(piece)
            reply.expect(expected)
        return pieces


async def test_segments_are_gathered_while_they_come_fast() -> None:
    async def handle(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(head(SIZE))
        for offset in range(0, SIZE, SEGMENT):
            await stream.send_all(CONTENT[offset : offset + SEGMENT])

    async with raw_server(handle) as url:
        pieces = await pieces_of(url, 256 * 1024)

    assert b"".join(pieces) == CONTENT
    assert len(pieces) < SIZE // SEGMENT // 4


async def test_what_came_is_not_held_back_for_what_does_not_come() -> None:
    seen = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        await read_head(stream)
        await stream.send_all(head(SIZE) + CONTENT[:100])
        await seen.wait()
        await stream.send_all(CONTENT[100:])

    async with (
        raw_server(handle) as url,
        client_of(url) as client,
        client.download("file_1", priority=URGENT) as reply,
    ):
        got = b""
        reply.expect(256 * 1024)
        async for piece in reply:
            got += piece
            seen.set()
            reply.expect(256 * 1024)
        assert got == CONTENT


async def test_the_next_reply_on_the_connection_is_not_waited_for_as_if_it_were_long() -> None:
    connections = 0

    async def handle(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        while True:
            await read_head(stream)
            await stream.send_all(head(5) + b"short")

    async with raw_server(handle) as url, client_of(url) as client:
        for _ in range(2):
            async with client.download("file_1", priority=URGENT) as reply:
                reply.expect(MIB)
                assert [piece async for piece in reply] == [b"short"]
    assert connections == 1


def encrypted(context: ssl.SSLContext, body: bytes) -> Handler:
    """Serves one reply of SIZE bytes, of which it sends these."""

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        request = b""
        while b"\r\n\r\n" not in request:
            request += await secure.receive_some(65536)
        await secure.send_all(head(SIZE) + body)

    return handle


async def test_the_records_that_came_together_are_one_piece(trusted: ssl.SSLContext) -> None:
    async with raw_server(encrypted(trusted, CONTENT)) as url:
        pieces = await pieces_of(url.replace("http:", "https:"), 256 * 1024)

    assert b"".join(pieces) == CONTENT
    assert len(pieces) < SIZE // RECORD


async def test_an_encrypted_body_that_is_cut_is_no_whole_one(trusted: ssl.SSLContext) -> None:
    async with raw_server(encrypted(trusted, CONTENT[: SIZE // 2])) as url:
        with pytest.raises(ReplyBroken):
            await pieces_of(url.replace("http:", "https:"), 256 * 1024)


async def test_a_certificate_of_nobody_known_is_refused_with_a_hint(authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await trio.SSLStream(stream, context, server_side=True).do_handshake()

    async with raw_server(handle) as url, client_of(url.replace("http:", "https:")) as client:
        with pytest.raises(Unreachable, match="SSL_CERT_FILE"):
            await client.list_page(None, priority=URGENT)
