"""Replies that never end, or take for ever to: each has a bound in bytes and one in time, and others get their turn."""

from __future__ import annotations

import time
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
import trio
import trio.testing

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.download import LEAST_BYTES, LEAST_BYTES_S, Floor
from remotefs.api.upload import BytesSource
from remotefs.config import MIB
from remotefs.errors import AmbiguousOutcome, DeadlineExceeded, RefusedError, ReplyBroken, TransportError, Unreachable
from tests.api.support import URGENT, Handler, raw_reply, raw_server, read_request, settings
from tests.sampling import each_once

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
STORED = (
    b'{"id":"file_1","type":"file","filename":"a","size_bytes":5,"mime_type":"text/plain",'
    b'"created_at":"2026-01-01T00:00:00Z"}'
)
Operation = Callable[[Client], Awaitable[object]]


@asynccontextmanager
async def client_of(handler: Handler, **changes: object) -> AsyncGenerator[Client, None]:
    async with raw_server(handler) as url:
        config = settings(base_url=url, **{"io_timeout_s": 0.4, "request_deadline_s": 0.4} | changes)
        async with Client(config, Budget.for_service(config), chance=lambda: 0.0) as client:
            yield client


def dripping(start: bytes, drop: bytes, every_s: float = 0.05) -> Handler:
    """Answers with `start` and then with a drop every now and then, never later than a read waits, and without end."""

    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(start)
        while True:
            await stream.send_all(drop)
            await trio.sleep(every_s)

    return serve


def flooding(start: bytes, wave: bytes) -> Handler:
    return dripping(start, wave, 0)


async def upload(client: Client) -> object:
    return await client.upload("a", BytesSource(b"12345"), priority=URGENT)


async def listing(client: Client) -> object:
    return await client.list_page(None, priority=URGENT)


async def metadata(client: Client) -> object:
    return await client.metadata("file_1", priority=URGENT)


async def delete(client: Client) -> object:
    return await client.delete("file_1", priority=URGENT)


async def content(client: Client) -> object:
    async with client.download("file_1", priority=URGENT) as body:
        return body


OPERATIONS: dict[str, Operation] = {
    "upload": upload, "listing": listing, "metadata": metadata, "delete": delete, "content": content,
}  # fmt: skip
DRIPS = {
    "interim replies": dripping(b"", HINT),
    "interim replies of nothing": dripping(b"", b"HTTP/1.1 100 \r\n\r\n"),
    "a status line": dripping(b"HTTP/1.1 200 O", b"K"),
    "headers": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
    "one header": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"y"),
}
BODY_DRIPS = {
    "spaces": dripping(HEAD, b"1\r\n \r\n"),
    "an object": dripping(HEAD + b"%x\r\n%s\r\n" % (len(STORED), STORED), b"1\r\n \r\n"),
    "a chunk extension": dripping(HEAD + b"1;", b"x"),
    "trailers": dripping(HEAD + b"%x\r\n%s\r\n0\r\n" % (len(STORED), STORED), b"X: y\r\n"),
    "no end announced": dripping(b"HTTP/1.1 200 OK\r\n\r\n", b" "),
    "an error": dripping(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize(("drip", "operation"), each_once(list(DRIPS), list(OPERATIONS)))
async def test_the_head_of_a_reply_comes_in_the_time_of_one_read(operation: str, drip: str) -> None:
    """However many pieces it has: eight that drip would hold all workers for ever."""
    async with client_of(DRIPS[drip]) as client:
        with trio.fail_after(10), pytest.raises(TransportError) as caught:
            await OPERATIONS[operation](client)
    expected = AmbiguousOutcome if operation == "upload" else DeadlineExceeded
    assert isinstance(caught.value, expected)


@pytest.mark.parametrize(
    ("drip", "operation"), each_once(list(BODY_DRIPS), [name for name in OPERATIONS if name != "content"])
)
async def test_a_body_that_is_no_content_comes_in_the_time_of_one_request(
    operation: str, drip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remotefs.api.exchange._ERROR_BODY_WAIT_S", 0.2)
    async with client_of(BODY_DRIPS[drip]) as client:
        with trio.fail_after(10), pytest.raises((TransportError, RefusedError)) as caught:
            await OPERATIONS[operation](client)
    if operation == "upload":
        assert isinstance(caught.value, AmbiguousOutcome)


FLOODS = {
    "interim replies": flooding(b"", HINT * 200),
    "headers": flooding(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000),
    "one header": flooding(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 5000),
    "a body": flooding(HEAD, b"1000\r\n%s\r\n" % (b" " * 4096) * 64),
    "bytes in chunks of one": flooding(HEAD, b"1\r\n \r\n" * 1000),
    "a chunk extension": flooding(HEAD + b"1;", b"x" * 5000),
    "trailers": flooding(HEAD + b"1\r\n \r\n0\r\n", b"X: y\r\n" * 1000),
    "packed nothing": flooding(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + zlib.compressobj(9, 8, 31).flush(zlib.Z_SYNC_FLUSH)[:10],
        b"\0\0\0\xff\xff" * 1000,
    ),
}


async def longest_hold(work: Callable[[], Awaitable[object]]) -> float:
    """How long others waited at most for their turn while the work was done, in seconds of the processor's time."""
    longest = 0.0
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            nonlocal longest
            while True:
                began = time.thread_time()
                await trio.sleep(0.001)
                longest = max(longest, time.thread_time() - began)

        nursery.start_soon(watch)
        await work()
        nursery.cancel_scope.cancel()
    return longest


@pytest.mark.parametrize(("flood", "operation"), each_once(list(FLOODS), ["upload", "listing"]))
async def test_a_flood_in_the_place_of_a_reply_ends_and_holds_nobody_up(operation: str, flood: str) -> None:
    async with client_of(FLOODS[flood], io_timeout_s=60.0, request_deadline_s=60.0) as client:

        async def work() -> None:
            expected = AmbiguousOutcome if operation == "upload" else ReplyBroken
            with trio.fail_after(90), pytest.raises(expected):
                await OPERATIONS[operation](client)

        assert await longest_hold(work) < 0.5


async def test_content_in_chunks_of_one_byte_comes_whole_and_holds_nobody_up() -> None:
    size = 20_000

    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(HEAD + b"1\r\nx\r\n" * size + b"0\r\n\r\n")

    received = 0
    async with client_of(serve, io_timeout_s=30.0) as client:

        async def work() -> None:
            nonlocal received
            async with client.download("file_1", priority=URGENT) as body:
                async for piece in body:
                    received += len(piece)

        assert await longest_hold(work) < 0.5
    assert received == size


async def test_a_few_interim_replies_before_a_reply_are_passed_over() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(HINT * 10 + raw_reply(STORED))

    async with client_of(serve) as client:
        assert (await client.metadata("file_1", priority=URGENT)).id == "file_1"


async def test_a_long_reply_after_its_head_has_no_such_bound() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        for _ in range(2):
            await read_request(stream)
            await stream.send_all(raw_reply(bytes(3 * MIB)))

    async with client_of(serve, io_timeout_s=30.0) as client:
        for _ in range(2):
            async with client.download("file_1", priority=URGENT) as body:
                assert sum([len(piece) async for piece in body]) == 3 * MIB


PROXIES = DRIPS | {"flood of interim replies": FLOODS["interim replies"], "flood of headers": FLOODS["headers"]}


@pytest.mark.parametrize(("answer", "operation"), each_once(list(PROXIES), ["upload", "listing"]))
async def test_a_proxy_that_never_ends_its_answer_is_given_up(
    operation: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tunnel is not there yet, so nothing was sent to the service."""
    async with raw_server(PROXIES[answer]) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        config = settings(base_url="https://files.test", io_timeout_s=0.4, request_deadline_s=0.4)
        async with Client(config, Budget.for_service(config), chance=lambda: 0.0) as client:
            with trio.fail_after(20), pytest.raises((Unreachable, DeadlineExceeded, ReplyBroken)):
                await OPERATIONS[operation](client)


async def test_a_handshake_that_drips_ends() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + bytes(10_000):
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.02)

    async with raw_server(serve) as url:
        config = settings(base_url=url.replace("http:", "https:"), connect_timeout_s=0.2)
        async with Client(config, Budget.for_service(config), chance=lambda: 0.0) as client:
            with trio.fail_after(20), pytest.raises(Unreachable):
                await client.list_page(None, priority=URGENT)


async def pieces_of(size: int, every_s: float) -> AsyncGenerator[bytes, None]:
    while True:
        await trio.sleep(every_s)
        yield bytes(size)


@pytest.mark.parametrize("every_s", [0.5, 5.0, 50.0])
async def test_content_that_drips_ends(autojump_clock: trio.testing.MockClock, every_s: float) -> None:
    floor = Floor(within_s=1.0)
    async with aclosing(pieces_of(1, every_s)) as pieces:
        with pytest.raises(DeadlineExceeded):
            while True:
                await floor.next(pieces)
    assert trio.current_time() == pytest.approx(LEAST_BYTES_S)


@pytest.mark.parametrize(("size", "every_s"), [(LEAST_BYTES, LEAST_BYTES_S - 1), (50_000, 1.0), (300, 1.0)])
async def test_slow_content_is_not_cut(autojump_clock: trio.testing.MockClock, size: int, every_s: float) -> None:
    floor = Floor(within_s=1.0)
    async with aclosing(pieces_of(size, every_s)) as pieces:
        for _ in range(1000):
            assert await floor.next(pieces) == bytes(size)


async def test_content_that_nobody_reads_for_a_while_is_not_cut(autojump_clock: trio.testing.MockClock) -> None:
    floor = Floor(within_s=1.0)
    async with aclosing(pieces_of(10, 1.0)) as pieces:
        for _ in range(30):
            await floor.next(pieces)
            await trio.sleep(1000)
