"""On a real socket: streaming, cut bodies, cancellation, and a key that shows nowhere."""

from __future__ import annotations

import gzip
import logging
import traceback
import tracemalloc
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.transport import is_loopback, make_http_client
from remotefs.api.upload import BytesSource, FileSource
from remotefs.config import MIB, Secret, ServiceConfig
from remotefs.errors import (
    AmbiguousOutcome,
    DeadlineExceeded,
    RefusedError,
    RemotefsError,
    ReplyBroken,
    TooLarge,
    Unreachable,
    UsageError,
)
from tests.api.support import (
    KEY,
    URGENT,
    Handler,
    announced_length,
    raw_reply,
    raw_server,
    read_head,
    read_request,
    settings,
)

STORED = raw_reply(
    b'{"id":"file_1","type":"file","filename":"a","size_bytes":5,"mime_type":"text/plain",'
    b'"created_at":"2026-01-01T00:00:00Z","downloadable":false,"expires_at":null}'
)


def client_of(url: str, **changes: object) -> Client:
    config = settings(base_url=url, **changes)
    return Client(config, Budget.for_service(config), chance=lambda: 0.0)


class Endless:
    """More bytes than a socket buffers, made as they are asked for."""

    mime_type = "application/octet-stream"

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.closed = False

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        piece = bytes(MIB)
        try:
            for _ in range(self.size_bytes // MIB):
                yield piece
        finally:
            self.closed = True


async def test_a_large_file_goes_up_and_down_in_bounded_memory(tmp_path: Path) -> None:
    size = 64 * MIB
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.truncate(size)

    async def serve(stream: trio.SocketStream) -> None:
        head, rest = await read_head(stream)
        left = announced_length(head) - len(rest)
        while left:
            left -= len(await stream.receive_some(min(left, MIB)))
        await stream.send_all(STORED)
        await read_head(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size // MIB):
            await stream.send_all(bytes(MIB))

    async with raw_server(serve) as url, client_of(url) as client:
        tracemalloc.start()
        try:
            await client.upload("a", FileSource(path, size, "a/b"), priority=URGENT)
            received = 0
            async with client.download("file_1", priority=URGENT) as body:
                async for piece in body:
                    received += len(piece)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert (received, body.total_bytes) == (size, size)
    assert peak < 16 * MIB


CUT_BODIES = {
    "content-length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n",
    "in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n12345",
    "part": b"HTTP/1.1 206 OK\r\nContent-Range: bytes 0-9/20\r\nContent-Length: 10\r\n\r\n12345",
    "gzip that is none": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n12345",
    "gzip": raw_reply(gzip.compress(b"hello")[:-1], headers="Content-Encoding: gzip\r\n"),
    "gzip and more": raw_reply(gzip.compress(b"hello") * 2, headers="Content-Encoding: gzip\r\n"),
    "unknown packing": raw_reply(b"12345", headers="Content-Encoding: br\r\n"),
}


@pytest.mark.parametrize("reply", CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_a_download_that_is_cut_is_broken(reply: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(reply)

    async with (
        raw_server(serve) as url,
        client_of(url) as client,
        client.download("file_1", priority=URGENT) as body,
    ):
        with pytest.raises(ReplyBroken, match="the body of a reply|compressed body"):
            async for _ in body:
                pass


async def test_a_body_that_stops_coming_has_a_deadline() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(CUT_BODIES["content-length"])
        await trio.sleep_forever()

    async with (
        raw_server(serve) as url,
        client_of(url, io_timeout_s=0.05) as client,
        client.download("file_1", priority=URGENT) as body,
    ):
        with pytest.raises(DeadlineExceeded):
            async for _ in body:
                pass


async def test_a_download_left_half_way_leaves_the_client_usable() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(200_000))
        await trio.sleep_forever()

    async with raw_server(serve) as url, client_of(url) as client:
        for _ in range(3):
            async with client.download("file_1", priority=URGENT) as body:
                assert await anext(body)
        with trio.move_on_after(0.05) as scope:
            async with client.download("file_1", priority=URGENT) as body:
                async for _ in body:
                    pass
        assert scope.cancelled_caught


async def test_compressed_content_is_given_unpacked_and_without_a_length() -> None:
    packed = gzip.compress(b"hello" * 1000)
    reply = raw_reply(packed, headers="Content-Encoding: gzip\r\n")

    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(reply)

    async with (
        raw_server(serve) as url,
        client_of(url) as client,
        client.download("file_1", priority=URGENT) as body,
    ):
        assert body.total_bytes is None
        assert b"".join([piece async for piece in body]) == b"hello" * 1000


async def test_a_packed_body_that_swells_comes_in_small_pieces() -> None:
    packed = raw_reply(gzip.compress(bytes(20 * MIB)), headers="Content-Encoding: gzip\r\n")

    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(packed)

    async with (
        raw_server(serve) as url,
        client_of(url) as client,
        client.download("file_1", priority=URGENT) as body,
    ):
        sizes = [len(piece) async for piece in body]
    assert (sum(sizes), max(sizes)) == (20 * MIB, MIB)


async def test_an_endless_listing_ends() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        while True:
            await read_request(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
            for _ in range(40):
                await stream.send_all(b" " * MIB)

    async with raw_server(serve) as url, client_of(url) as client:
        with pytest.raises(ReplyBroken, match="longer than"):
            await client.list_page(None, priority=URGENT)


# --- uploads that are cut ---


async def test_a_connection_that_breaks_in_the_body_is_certainly_not_an_upload() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_head(stream)

    source, sent = Endless(64 * MIB), []
    async with raw_server(serve) as url, client_of(url) as client:
        with pytest.raises(Unreachable, match="before the whole request was sent"):
            await client.upload("a", source, priority=URGENT, on_all_sent=lambda: sent.append(1))
    assert (sent, source.closed) == ([], True)


async def test_an_answer_before_the_body_is_whole_is_the_answer() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_head(stream)
        page = b"<html>413 Request Entity Too Large</html>"
        await stream.send_all(raw_reply(page, "413 Too Large", "Content-Type: text/html\r\nConnection: close\r\n"))
        while await stream.receive_some(MIB):
            pass

    async with raw_server(serve) as url, client_of(url) as client:
        with pytest.raises(TooLarge, match="HTML page"):
            await client.upload("a", Endless(4 * MIB), priority=URGENT)


async def test_a_lost_reply_is_ambiguous_and_sent_once() -> None:
    seen = []

    async def serve(stream: trio.SocketStream) -> None:
        seen.append(await read_request(stream))

    async with raw_server(serve) as url, client_of(url) as client:
        with pytest.raises(AmbiguousOutcome):
            await client.upload("a", BytesSource(b"12345"), priority=URGENT)
    assert len(seen) == 1


async def test_nobody_there_is_unreachable_and_says_where() -> None:
    async with client_of("http://127.0.0.1:9") as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1 cannot be reached"):
            await client.list_page(None, priority=URGENT)


class Gates:
    """Where a server stops until told: before it reads, in the body, before it answers."""

    def __init__(self, stop_at: str) -> None:
        self.stop_at = stop_at
        self.reached = trio.Event()
        self.answered = 0

    async def pass_by(self, place: str) -> None:
        if place == self.stop_at and not self.reached.is_set():
            self.reached.set()
            await trio.sleep_forever()

    async def serve(self, stream: trio.SocketStream) -> None:
        await self.pass_by("connected")
        while True:
            head, rest = await read_head(stream)
            await self.pass_by("head")
            left = announced_length(head) - len(rest)
            while left:
                left -= len(await stream.receive_some(min(left, MIB)))
                await self.pass_by("body")
            await self.pass_by("reply")
            await stream.send_all(STORED[:30])
            await self.pass_by("half a reply")
            self.answered += 1
            await stream.send_all(STORED[30:])


@pytest.mark.parametrize("place", ["connected", "head", "body", "reply", "half a reply"])
async def test_an_upload_cancelled_anywhere_leaves_the_pool_usable(place: str) -> None:
    gates, source, sent = Gates(place), Endless(32 * MIB), []
    async with raw_server(gates.serve) as url, client_of(url) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.upload("a", source, priority=URGENT, on_all_sent=lambda: sent.append(1)))
            await gates.reached.wait()
            await wait_all_tasks_blocked(0.01)
            nursery.cancel_scope.cancel()
        assert source.closed
        assert bool(sent) == (place in {"reply", "half a reply"})
        for _ in range(2):
            assert (await client.upload("a", BytesSource(b"12345"), priority=URGENT)).id == "file_1"
    assert gates.answered == 2


async def test_an_upload_cancelled_at_each_of_its_steps_leaves_the_pool_usable() -> None:
    """Every checkpoint in turn: the n-th wake-up of the task finds itself cancelled."""
    gates = Gates("nowhere")
    async with raw_server(gates.serve) as url, client_of(url) as client:
        for steps in range(40):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel_after(steps: int = steps, scope: trio.CancelScope = scope) -> None:
                        for _ in range(steps):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    nursery.start_soon(cancel_after)
                    await client.upload("a", BytesSource(b"12345"), priority=URGENT)
        assert (await client.upload("a", BytesSource(b"12345"), priority=URGENT)).id == "file_1"


# --- the key shows nowhere ---


def every_trace(error: BaseException) -> str:
    """The error as anybody could print it, its whole chain and its frames' variables included."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain = [repr(error), str(error), repr(error.args), *shown.format()]
    return "\n".join(chain) + repr(error.__cause__) + repr(error.__context__)


async def failure_of(client: Client) -> RemotefsError | None:
    try:
        await client.upload("a", BytesSource(b"12345"), priority=URGENT)
    except RemotefsError as error:
        return error
    return None


async def no_answer(stream: trio.SocketStream) -> None:
    await read_request(stream)


async def half_answer(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")


async def wrong_key(stream: trio.SocketStream) -> None:
    await read_request(stream)
    body = b'{"type":"error","error":{"type":"authentication_error","message":"invalid key %s"}}' % KEY.encode()
    await stream.send_all(raw_reply(body, "401 Unauthorized"))


async def no_http(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")


async def works(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await stream.send_all(STORED)


@pytest.mark.parametrize("serve", [no_answer, half_answer, wrong_key, no_http, works])
@pytest.mark.parametrize("identity", ["api_key", "auth_token", "custom_headers"])
async def test_the_key_shows_nowhere(serve: Handler, identity: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    held: dict[str, object] = {"api_key": None, "auth_token": None, "custom_headers": ()}
    held |= {identity: (("x-token", Secret(KEY)),) if identity == "custom_headers" else Secret(KEY)}
    traces = []
    async with raw_server(serve) as url, client_of(url, **held) as client:
        traces += [repr(client), str(client)]
        error = await failure_of(client)
    if error is not None:
        assert (error.__cause__, error.__context__) == (None, None)
        traces.append(every_trace(error))
    assert any(record.name.startswith("httpcore") for record in caplog.records)
    assert KEY not in caplog.text
    assert KEY not in "\n".join(traces)


@pytest.mark.parametrize(
    "bad", [Secret(text) for text in (f"{KEY}\n", f"{KEY} \r\nx: y", f"„{KEY}“", f" {KEY}", "")], ids=range(5)
)
@pytest.mark.parametrize("identity", ["api_key", "auth_token"])
async def test_a_key_that_no_header_carries_is_a_clear_error_without_it(bad: Secret, identity: str) -> None:
    with pytest.raises(UsageError, match="ANTHROPIC_") as raised:
        client_of("http://127.0.0.1:9", **({"api_key": None} | {identity: bad}))
    assert KEY not in every_trace(raised.value)


# --- addresses, proxies, certificates ---


@pytest.mark.parametrize(
    "url",
    [
        "",
        "files.test",
        "ftp://files.test",
        "https://",
        "https://user:pw@files.test",
        "https://files.test?x=1",
        "http://[::1",
    ],
)
async def test_a_base_url_that_cannot_be_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError, match="base URL") as raised:
        client_of(url)
    assert "pw" not in str(raised.value)


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_base_url_may_have_its_usual_endings(suffix: str) -> None:
    paths = []

    async def serve(stream: trio.SocketStream) -> None:
        head, _ = await read_request(stream)
        paths.append(head.split()[1])
        await stream.send_all(STORED)

    async with raw_server(serve) as url, client_of(url + suffix) as client:
        await client.metadata("file_1", priority=URGENT)
    assert paths == [b"/v1/files/file_1"]


async def test_an_unencrypted_address_elsewhere_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with client_of("http://files.test"):
        assert "not encrypted" in caplog.text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("a.localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("x.test", False),
    ],
)
def test_what_is_this_machine(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


async def test_a_loopback_address_is_never_asked_for_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with raw_server(works) as url, client_of(url) as client:
        assert (await client.metadata("file_1", priority=URGENT)).id == "file_1"


async def test_other_addresses_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    async def proxy(stream: trio.SocketStream) -> None:
        head, _ = await read_request(stream)
        seen.append(head.split()[1])
        await stream.send_all(STORED)

    async with raw_server(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client_of("http://files.test") as client:
            await client.metadata("file_1", priority=URGENT)
    assert seen == [b"http://files.test/v1/files/file_1"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SSL_CERT_FILE", "/nonexistent/ca.pem", "SSL_CERT_FILE"),
        ("SSL_CERT_FILE", __file__, "SSL_CERT_FILE"),
        ("HTTPS_PROXY", "socks5://127.0.0.1:9", "socksio"),
        ("HTTPS_PROXY", "gopher://127.0.0.1:9", "proxy"),
    ],
)
def test_environment_variables_that_cannot_work_are_named(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        make_http_client(ServiceConfig(), None)


async def test_no_cookie_is_kept() -> None:
    heads = []

    async def serve(stream: trio.SocketStream) -> None:
        while True:
            heads.append((await read_request(stream))[0])
            await stream.send_all(STORED.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n", 1))

    async with raw_server(serve) as url, client_of(url) as client:
        for _ in range(2):
            await client.metadata("file_1", priority=URGENT)
    assert b"cookie" not in heads[1].lower()


async def test_a_status_of_its_own_still_has_its_facts() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(raw_reply(b"", "418 Teapot", "request-id: req_9\r\n"))

    async with raw_server(serve) as url, client_of(url) as client:
        with pytest.raises(RefusedError) as raised:
            await client.metadata("file_1", priority=URGENT)
    assert (raised.value.status, raised.value.request_id) == (418, "req_9")
