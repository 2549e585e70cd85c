"""Odd replies below JSON: statuses, headers, lengths, encodings; bodies that never end, drip or stop."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import anyio

from tests.faults import Action, Call, _error_body
from tests.fuzz.world import World

MIB = 1 << 20
# What a client may take of a reply that does not end, beside what the sockets hold: the longest listing that it reads
# is 32 MiB (remotefs/api/exchange.py).
MOST_BODY_BYTES = 33 * MIB
MOST_HEAD_BYTES = 2 * MIB
MOST_INTERIM = 20_000
_SOCKETS_BYTES = 8 * MIB


@dataclass
class Whole:
    """The honest reply."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def head(self, *, status: str | None = None, without: tuple[str, ...] = (), **more: str) -> bytes:
        """Return the head as bytes, without a length unless `more` has one."""
        left_out = {b"content-length", b"transfer-encoding", *(name.encode() for name in without)}
        kept = [(name, value) for name, value in self.headers if name.lower() not in left_out]
        kept += [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
        lines = b"".join(b"%s: %s\r\n" % pair for pair in kept)
        return b"HTTP/1.1 %s\r\n%s\r\n" % ((status or f"{self.status} OK").encode(), lines)

    def bytes(self) -> bytes:
        """Return the reply as an honest server sends it."""
        return self.head(content_length=str(len(self.body))) + self.body


@dataclass
class OddReply(Action):
    """Have a request carried out, and answer oddly."""

    world: World

    async def __call__(self, call: Call) -> None:
        """Carry out, then answer."""
        status, headers, body = await call.whole_reply()
        await self.answer(call, Whole(status, headers, body))

    async def answer(self, call: Call, whole: Whole) -> None:
        """Answer."""
        raise NotImplementedError


# -- statuses


STATUSES = (
    100, 101, 102, 103, 199, *range(201, 209), 226, 299, *range(300, 309), 399, *range(400, 419), *range(421, 432), 451,
    499, *range(500, 512), 520, 521, 524, 525, 526, 529, 530, 598, 599, 600, 700, 999,
)  # fmt: skip


def _page(status: int) -> bytes:
    return f"<html><head><title>{status}</title></head><body>nginx</body></html>".encode()


BODIES: Mapping[str, Callable[[int, Whole], tuple[str, bytes]]] = {
    "its envelope": lambda status, whole: ("application/json", json.dumps(_error_body(status)).encode()),
    "no body": lambda status, whole: ("application/json", b""),
    "a page": lambda status, whole: ("text/html", _page(status)),
    "the honest body": lambda status, whole: ("application/json", whole.body),
}


@dataclass
class OddStatus(OddReply):
    """Answer with this status; `carries_out`: a 4xx may be told all the same."""

    status: int
    body: str
    carries_out: bool
    headers: Mapping[str, str]

    async def __call__(self, call: Call) -> None:
        """Answer."""
        whole = Whole(200, [], b"")
        if self.carries_out:
            whole = Whole(*await call.whole_reply())
        else:
            await call.read_request()
        kind, body = BODIES[self.body](self.status, whole)
        head = {"content-type": kind, "content-length": str(len(body))} | dict(self.headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        call.write_raw(f"HTTP/1.1 {self.status} Odd\r\n{lines}\r\n".encode("latin-1", "replace") + body)


@dataclass
class OddHeader(OddReply):
    """Carry out, and give one header another value, or none; `again`: beside the right one."""

    name: str
    value: str | None
    again: bool = False
    # Beside a success or beside a refusal.
    status: int | None = None

    async def answer(self, call: Call, whole: Whole) -> None:
        """Answer."""
        status, body = whole.status, whole.body
        if self.status is not None:
            status, body = self.status, json.dumps(_error_body(self.status)).encode()
        name = self.name.encode()
        kept = [pair for pair in whole.headers if self.again or pair[0].lower() != name]
        lengths = [pair for pair in kept if pair[0].lower() == b"content-length"]
        kept = [pair for pair in kept if pair not in lengths]
        if name not in {b"content-length", b"transfer-encoding"} or self.again:
            kept.append((b"content-length", str(len(body)).encode()))
        if self.value is not None:
            kept.append((name, self.value.encode("utf-8", "replace")))
        lines = b"".join(b"%s: %s\r\n" % pair for pair in kept)
        call.write_raw(b"HTTP/1.1 %d Odd\r\n%s\r\n%s" % (status, lines, body))


HEADERS = (
    "date", "content-length", "transfer-encoding", "content-encoding", "content-type", "content-range", "accept-ranges",
    "etag", "connection", "keep-alive", "retry-after", "retry-after-ms", "x-should-retry", "location", "set-cookie",
    "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining",
    "anthropic-ratelimit-requests-reset", "anthropic-organization-id", "anthropic-workspace-id", "request-id",
    "content-disposition", "upgrade", "trailer", "via", "age", "x-odd",
)  # fmt: skip
SPECIALS = (
    "x" * 8000, "x" * 70_000, "gzip", "deflate", "br", "zstd", "gzip, gzip", "identity, chunked", "chunked", "chunked, chunked", "close",
    "keep-alive", "false", "bytes 0-0/1", "bytes 5-9/*", "bytes */7", "bytes 9-5/3", "multipart/byteranges; boundary=x",
    "text/html", "application/json; charset=utf-16", "/", "//evil.example/", "http://127.0.0.1:1/", "https://127.0.0.1:1/", "/v1/files",
    "h2c", "\x00", "a\x01b", "\xff\xfe",
)  # fmt: skip


# -- bytes


Bytes = Callable[["OddBytes", Call, Whole], Awaitable[None]]
BYTES: dict[str, Bytes] = {}


def odd_bytes(answer: Bytes) -> Bytes:
    """Note a way to answer under its name."""
    BYTES[answer.__name__.strip("_").replace("_", " ")] = answer
    return answer


@dataclass
class OddBytes(OddReply):
    """Carry out, and answer as `BYTES[way]` does."""

    way: str
    # Bytes that clients took beyond what a client may take.
    excess: ClassVar[list[str]] = []

    async def answer(self, call: Call, whole: Whole) -> None:
        """Answer."""
        await BYTES[self.way](self, call, whole)
        await call.transport.flush()
        call.transport.close()

    async def drip(self, call: Call, content: bytes, every_s: float, size: int = 1) -> None:
        """Send bytes a few at a time."""
        for at in range(0, len(content), size):
            await call.transport.send(content[at : at + size])
            await anyio.sleep(every_s)

    async def flood(self, call: Call, piece: bytes, most: int) -> None:
        """Send a piece again and again; a client that takes more than `most` bytes of them takes too much."""
        sent = 0
        while sent <= most + _SOCKETS_BYTES:
            await call.transport.send(piece)
            sent += len(piece)
        self.world.notes.append(f"unbounded: {self.way}: the client took {sent:,} bytes and would take more")
        call.abort()


def _plain(name: str, content: Callable[[Whole], bytes]) -> None:
    async def answer(odd: OddBytes, call: Call, whole: Whole) -> None:
        await call.transport.send(content(whole))

    BYTES[name] = answer


def _hanging(name: str, content: Callable[[Whole], bytes]) -> None:
    async def answer(odd: OddBytes, call: Call, whole: Whole) -> None:
        await call.transport.send(content(whole))
        await anyio.sleep_forever()

    BYTES[name] = answer


def _chunked(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"


def _with_status_line(line: bytes) -> Callable[[Whole], bytes]:
    return lambda whole: line + b"\r\n" + whole.bytes().partition(b"\r\n")[2]


def _with_line(line: bytes) -> Callable[[Whole], bytes]:
    return lambda whole: whole.bytes().replace(b"\r\n", b"\r\n" + line + b"\r\n", 1)


def _with_length(value: str) -> Callable[[Whole], bytes]:
    return lambda whole: whole.head(content_length=value) + whole.body


def _as_chunks(tail: Callable[[bytes], bytes]) -> Callable[[Whole], bytes]:
    return lambda whole: whole.head(transfer_encoding="chunked") + tail(whole.body)


def _encoded(encoding: str, encode: Callable[[bytes], bytes]) -> Callable[[Whole], bytes]:
    def content(whole: Whole) -> bytes:
        body = encode(whole.body)
        return whole.head(content_encoding=encoding, content_length=str(len(body))) + body

    return content


def _with_body(change: Callable[[bytes], bytes]) -> Callable[[Whole], bytes]:
    def content(whole: Whole) -> bytes:
        body = change(whole.body)
        return whole.head(content_length=str(len(body))) + body

    return content


_plain("closed without a byte", lambda whole: b"")
for part in (1, 2, 5, 8, 9):
    _plain(f"cut after {part} of 10", lambda whole, part=part: whole.bytes()[: len(whole.bytes()) * part // 10])
_plain("cut before the last byte", lambda whole: whole.bytes()[:-1])
_plain("cut after the head", lambda whole: whole.head(content_length=str(len(whole.body))))
for line in (
    b"HTTP/1.0 200 OK", b"HTTP/2.0 200 OK", b"HTTP/9.9 200 OK", b"ICY 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK",
    b"HTTP/1.1 OK", b"HTTP/1.1 200", b"HTTP/1.1  200  OK", b"HTTP/1.1 200 " + b"x" * 5000, b"http/1.1 200 ok", b"", b"\r\n",
    b"HTTP/1.1 -200 OK", b"HTTP/1.1 200 \xff\xfe", b"\0",
):  # fmt: skip
    _plain(f"status line {line[:24]!r}", _with_status_line(line))
for line in (
    b"no colon", b": no name", b"a b: c", b"odd: a\0b", b" folded: x", b"odd\xff: x", b"odd: \xff", b"x:" + b"y" * 65_000,
    b"odd: a\rb", b"content-length: 5", b"content-length: -1", b"transfer-encoding: chunked", b"content-length:",
    b"\r\n".join(b"h%d: x" % n for n in range(120)), b"\r\n".join(b"h%d: x" % n for n in range(5000)),
):  # fmt: skip
    _plain(f"header line {line[:24]!r}", _with_line(line))
for length in ("0", "1", "-1", "+5", "1e3", "0x10", "99999999999", "9" * 25, "", "abc", "5, 5", "5, 6", "٣"):
    _plain(f"announced length {length[:12]!r}", _with_length(length))
_hanging("announced one more, then hangs", lambda whole: _with_length(str(len(whole.body) + 1))(whole))
for name, tail in {
    "honest": _chunked,
    "size that is no number": lambda body: b"zz\r\n" + body,
    "negative size": lambda body: b"-1\r\n" + body,
    "enormous size": lambda body: b"ffffffffffffffffff\r\n" + body,
    "0x size": lambda body: b"0x%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
    "no end": lambda body: b"%x\r\n%s\r\n" % (len(body), body),
    "wrong line ends": lambda body: b"%x\n%s\n0\n\n" % (len(body), body),
    "size too small": lambda body: b"1\r\n%s\r\n0\r\n\r\n" % body,
    "one byte each": lambda body: b"".join(b"1\r\n%c\r\n" % byte for byte in body[:2000]) + b"0\r\n\r\n",
    "trailers": lambda body: _chunked(body)[:-2] + b"date: Fri, 31 Dec 2199 23:59:59 GMT\r\ncontent-length: 1\r\n\r\n",
    "extensions": lambda body: b"%x;a=b;c\r\n%s\r\n0\r\n\r\n" % (len(body), body),
}.items():
    _plain(f"chunks: {name}", _as_chunks(tail))
_hanging("chunks: no end, then hangs", _as_chunks(lambda body: b"%x\r\n%s\r\n" % (len(body), body)))
for encoding, encode in {
    "gzip": gzip.compress, "deflate": zlib.compress, "x-gzip": gzip.compress, "GZIP": gzip.compress,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)), "identity": bytes, "": bytes,
}.items():  # fmt: skip
    _plain(f"encoding {encoding!r}", _encoded(encoding, encode))
for name, encode in {
    "plain": bytes, "cut": lambda body: gzip.compress(body)[:-9], "of nothing": lambda body: b"",
    "and more": lambda body: gzip.compress(body) + b"more", "two members": lambda body: gzip.compress(body) * 2,
    "bomb": lambda body: _bomb(), "bomb of a prefix": lambda body: gzip.compress(body + b" " * (64 * MIB)),
    "wrong sum": lambda body: gzip.compress(body)[:-8] + b"\0" * 8,
}.items():  # fmt: skip
    _plain(f"gzip {name}", _encoded("gzip", encode))
for encoding in ("br", "zstd", "compress", "x-unknown", "gzip, br", "deflate, deflate", "utf-8", "gzip;q=0", "٣"):
    _plain(f"encoding {encoding!r} that it has not", _encoded(encoding, bytes))
for name, change in {
    "empty": lambda body: b"", "twice": lambda body: body * 2, "half": lambda body: body[: len(body) // 2],
    "one byte more": lambda body: body + b"x", "one byte less": lambda body: body[:-1], "spaces around": lambda body: b" \n" + body + b"\n\n",
    "with a mark": lambda body: b"\xef\xbb\xbf" + body, "utf-16": lambda body: body.decode("latin-1").encode("utf-16"),
    "not utf-8": lambda body: body.replace(b"file", b"\xff\xfe"), "null": lambda body: b"null", "a page": lambda body: _page(200),
    "zeros": lambda body: b"\0" * 100, "deep": lambda body: b"[" * 100_000, "in a list": lambda body: b"[" + body + b"]",
    "two objects": lambda body: body + b"\n" + body, "10 MiB more": lambda body: body + b" " * (10 * MIB),
    "quoted": lambda body: json.dumps(body.decode("latin-1")).encode(), "NaN": lambda body: b"NaN", "'": lambda body: body.replace(b'"', b"'"),
}.items():  # fmt: skip
    _plain(f"body {name}", _with_body(change))
_plain("two replies", lambda whole: whole.bytes() * 2)
_plain("interim replies before", lambda whole: b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 20 + whole.bytes())
_plain("100 before", lambda whole: b"HTTP/1.1 100 Continue\r\n\r\n" + whole.bytes())
_plain("101 before", lambda whole: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n" + whole.bytes())
_plain("tls", lambda whole: b"\x15\x03\x01\x00\x02\x02\x28")
_plain("http/2", lambda whole: b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\0" * 18)
_plain("html without a head", lambda whole: _page(200))
_plain("until the end of the connection", lambda whole: whole.head(connection="close") + whole.body)
_plain(
    "206 without a range",
    lambda whole: whole.head(status="206 Partial", content_length=str(len(whole.body))) + whole.body,
)
for span in (
    "bytes 0-0/1",
    "bytes 1-5/6",
    "bytes 0-9/*",
    "bytes 5-1/9",
    "bytes 0-99999/100000",
    "bytes */6",
    "items 0-1/2",
):
    _plain(
        f"206 {span}",
        lambda whole, span=span: (
            whole.head(
                status="206 Partial",
                without=("content-range",),
                content_range=span,
                content_length=str(len(whole.body)),
            )
            + whole.body
        ),
    )
_hanging("hangs without a byte", lambda whole: b"")
_hanging("hangs in the status line", lambda whole: b"HTTP/1.1 2")
_hanging("hangs in the head", lambda whole: whole.bytes()[:40])
_hanging("hangs after the head", lambda whole: whole.head(content_length=str(len(whole.body))))
_hanging("hangs in the body", lambda whole: whole.bytes()[: -(len(whole.body) + 1) // 2])
_hanging("hangs after an interim reply", lambda whole: b"HTTP/1.1 103 Early Hints\r\n\r\n")


@odd_bytes
async def _reset(odd: OddBytes, call: Call, whole: Whole) -> None:
    call.abort()


@odd_bytes
async def _head_drips(odd: OddBytes, call: Call, whole: Whole) -> None:
    await odd.drip(call, whole.bytes(), 1.0)


@odd_bytes
async def _head_drips_slowly(odd: OddBytes, call: Call, whole: Whole) -> None:
    await odd.drip(call, whole.bytes(), 50.0)


@odd_bytes
async def _body_drips(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(content_length=str(len(whole.body))))
    await odd.drip(call, whole.body, 0.5)


@odd_bytes
async def _body_drips_slowly(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(content_length=str(len(whole.body))))
    await odd.drip(call, whole.body, 50.0)


@odd_bytes
async def _spaces_drip_for_ever(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(transfer_encoding="chunked"))
    await odd.drip(call, b"1\r\n \r\n" * 2000, 30.0, size=6)


@odd_bytes
async def _interim_replies_drip_for_ever(odd: OddBytes, call: Call, whole: Whole) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    await odd.drip(call, hint * 2000, 30.0, size=len(hint))


@odd_bytes
async def _header_lines_drip_for_ever(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 200 OK\r\n")
    await odd.drip(call, b"x: y\r\n" * 2000, 30.0, size=6)


@odd_bytes
async def _interim_replies_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await odd.flood(call, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, MOST_HEAD_BYTES)


@odd_bytes
async def _continues_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await odd.flood(call, b"HTTP/1.1 100 Continue\r\n\r\n" * 100, MOST_HEAD_BYTES)


@odd_bytes
async def _headers_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 200 OK\r\n")
    await odd.flood(call, b"x: y\r\n" * 1000, MOST_HEAD_BYTES)


@odd_bytes
async def _a_header_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 200 OK\r\nx: ")
    await odd.flood(call, b"y" * 10_000, MOST_HEAD_BYTES)


@odd_bytes
async def _a_status_line_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 200 ")
    await odd.flood(call, b"y" * 10_000, MOST_HEAD_BYTES)


@odd_bytes
async def _a_body_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(connection="close"))
    await odd.flood(call, whole.body + b" " * MIB, MOST_BODY_BYTES)


@odd_bytes
async def _chunks_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(transfer_encoding="chunked"))
    await odd.flood(call, b"100000\r\n%s\r\n" % (b" " * MIB), MOST_BODY_BYTES)


@odd_bytes
async def _a_chunk_size_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(transfer_encoding="chunked") + b"1;")
    await odd.flood(call, b"x" * 10_000, MOST_HEAD_BYTES)


@odd_bytes
async def _trailers_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.head(transfer_encoding="chunked") + _chunked(whole.body)[:-2])
    await odd.flood(call, b"x: y\r\n" * 1000, MOST_HEAD_BYTES)


@odd_bytes
async def _gzip_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    await call.transport.send(whole.head(content_encoding="gzip", connection="close"))
    piece = packer.compress(b" " * (16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    await call.transport.send(piece)
    # After a full flush the same piece may follow without its head: 16 MiB unpacked each.
    again = packer.compress(b" " * (16 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(100):
        await call.transport.send(again)
    await anyio.sleep_forever()


@odd_bytes
async def _an_error_without_end(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 500 Odd\r\nconnection: close\r\n\r\n")
    await odd.flood(call, b" " * MIB, MIB)


@odd_bytes
async def _an_error_that_drips(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(b"HTTP/1.1 500 Odd\r\nconnection: close\r\n\r\n")
    await odd.drip(call, b" " * 2000, 5.0)


@odd_bytes
async def _a_second_reply_later(odd: OddBytes, call: Call, whole: Whole) -> None:
    await call.transport.send(whole.bytes())
    await anyio.sleep(1.0)
    await call.transport.send(whole.bytes())
    await anyio.sleep(30.0)


def _bomb() -> bytes:
    return gzip.compress(b" " * (64 * MIB), 9)


def describe(value: Any) -> str:
    """Return a value in a few characters."""
    return repr(value)[:40]
