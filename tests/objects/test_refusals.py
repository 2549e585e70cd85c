"""What a bucket's server may answer, and that no secret gets out. A server of one answer says all of it."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from remotefs.errors import (
    ObjectMissing,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    ObjectStoreUnusable,
    TransportError,
    UsageError,
)
from remotefs.objects.store import ObjectStore
from tests.objects.servers import WRITER, environment

HUSH = "query-hush"


@dataclass
class Answer:
    """What the server says to everything, and which requests came."""

    status: int = 200
    code: str = ""
    body: bytes | None = None
    length: int | None = None
    cut: bool = False
    seen: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    """Gives the one answer."""

    answer: Answer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = self.answer
        answer.seen.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = (
            answer.body
            if answer.body is not None
            else f"<Error><Code>{answer.code}</Code><Message>{HUSH}</Message></Error>".encode()
        )
        self.close_connection = answer.cut
        if answer.cut and self.headers.get("range"):
            # The library asks for the rest.
            return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(body) if answer.length is None else answer.length))
        self.send_header("Last-Modified", "Sat, 28 Nov 2026 20:00:00 GMT")
        self.send_header("ETag", '"x"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the library's names

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    given = Answer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Given", (Handler,), {"answer": given}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    for name, value in environment(server.server_port).items():
        monkeypatch.setenv(name, value)
    yield given
    server.shutdown()
    server.server_close()
    thread.join()


CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "put": lambda store: store.put("c/x", lambda: [b"12345"], 5),
    "create": lambda store: store.create("c/x", b"12345"),
    "get": lambda store: store.get("c/x"),
    "size_of": lambda store: store.size_of("c/x"),
    "delete": lambda store: store.delete(["c/x"]),
    "copy": lambda store: store.copy("c/x", "c/y"),
    "list": lambda store: anext(store.list("c")),
}
# Status, code of the body, and whose fault it is. What a HEAD gets has no body.
ANSWERS = [
    (403, "AccessDenied", ObjectStoreDenied), (403, "SignatureDoesNotMatch", ObjectStoreDenied), (401, "Unauthorized", ObjectStoreDenied),
    (500, "InternalError", ObjectStoreUnreachable), (503, "SlowDown", ObjectStoreUnreachable), (429, "TooMany", ObjectStoreUnreachable),
    (400, "BadDigest", ObjectStoreError), (418, "", ObjectStoreError),
]  # fmt: skip


async def refusal(store: ObjectStore, call: str) -> ObjectStoreError:
    with pytest.raises(ObjectStoreError) as caught:
        await CALLS[call](store)
    said = str(caught.value)
    assert said.startswith("s3://bucket/a")
    assert "\n" not in said
    assert len(said) < 300
    whole = "".join(traceback.format_exception(caught.value))
    for secret in (WRITER.secret, WRITER.id, HUSH, "127.0.0.1"):
        assert secret not in said
        assert secret not in whole
    return caught.value


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "code", "kind"), ANSWERS, ids=lambda value: str(value))
async def test_a_refusal_says_who_is_to_blame_and_no_secret(
    answer: Answer, call: str, status: int, code: str, kind: type[ObjectStoreError]
) -> None:
    answer.status, answer.code = status, code
    error = await refusal(ObjectStore.open("s3://bucket/a"), call)
    assert type(error) is kind
    assert isinstance(error, TransportError) is (kind is ObjectStoreUnreachable)
    assert str(status) in str(error)
    assert len(answer.seen) <= 3


@pytest.mark.parametrize("call", CALLS)
async def test_a_missing_bucket_is_told_where_the_server_tells(answer: Answer, call: str) -> None:
    answer.status, answer.code = 404, "NoSuchBucket"
    store = ObjectStore.open("s3://bucket/a")
    if call == "size_of":
        # The reply to a HEAD has no body.
        assert await store.size_of("c/x") is None
    elif call == "delete":
        await store.delete([])
    else:
        assert type(await refusal(store, call)) is ObjectStoreUnusable


@pytest.mark.parametrize("call", CALLS)
async def test_a_404_of_what_needs_the_bucket_alone_is_the_bucket(answer: Answer, call: str) -> None:
    answer.status = 404
    store = ObjectStore.open("s3://bucket/a")
    if call in {"get", "copy"}:
        assert type(await refusal(store, call)) is ObjectMissing
    elif call in {"put", "create", "list"}:
        assert type(await refusal(store, call)) is ObjectStoreUnusable
    else:
        assert await CALLS[call](store) is None


async def test_a_put_that_the_store_kept_otherwise_is_not_done(answer: Answer) -> None:
    answer.body = b"123"
    assert "has 3 of 5 bytes" in str(await refusal(ObjectStore.open("s3://bucket/a"), "put"))


async def test_a_body_that_is_cut_is_no_whole_one(answer: Answer) -> None:
    answer.body, answer.length, answer.cut = bytes(1000), 5_000_000, True
    store = ObjectStore.open("s3://bucket/a")
    assert type(await refusal(store, "get")) is ObjectStoreUnreachable
    with pytest.raises(ObjectStoreUnreachable):
        async with store.stream("c/x") as pieces:
            async for _ in pieces:
                pass


async def test_no_server_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(1).items():
        monkeypatch.setenv(name, value)
    for call in CALLS:
        assert type(await refusal(ObjectStore.open("s3://bucket/a"), call)) is ObjectStoreUnreachable


async def test_plain_http_has_to_be_allowed(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ALLOW_HTTP", "false")
    assert "set AWS_ALLOW_HTTP=true" in str(await refusal(ObjectStore.open("s3://bucket/a"), "get"))
    assert answer.seen == []


def test_a_wrong_variable_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "not-base64-hush!")
    with pytest.raises(ObjectStoreDenied, match="az://box/a: the variables of the shared store's cloud") as caught:
        ObjectStore.open("az://box/a")
    assert "hush" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url", ["", "bucket", "https://h/b", "s3://me:hush@b", "s3://b?sig=hush", "file://host/x", "file:x", "s3://"]
)
def test_a_wrong_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(
        UsageError, match=r"the address of the shared store is not valid: give an address such as "
    ) as caught:
        ObjectStore.open(url)
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bucket_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "remotefs.objects.bucket", raising=False)
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"s3://bucket/a: .*pip install 'remotefs\[shared\]'"):
        ObjectStore.open("s3://bucket/a")


async def test_nothing_is_logged(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    answer.status, answer.code = 403, "AccessDenied"
    with caplog.at_level(logging.DEBUG):
        await refusal(ObjectStore.open("s3://bucket/a"), "get")
    assert WRITER.secret not in caplog.text
