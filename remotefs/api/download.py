"""The receiving half: pieces of a reply's body, and the body of a download with where it starts and how long it is."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec
import trio

from remotefs.api.bounds import MOST_FILE_BYTES
from remotefs.api.decompression import Unpacker
from remotefs.api.http import httpx
from remotefs.api.large_reads import Connection
from remotefs.api.transport import broken
from remotefs.errors import ReplyBroken, TransportError

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,30}", re.ASCII)
# A connection that does not close in this time is left to the garbage collector.
_CLOSE_WAIT_S = 5.0


class Span(msgspec.Struct, frozen=True):
    """What a body is: its first byte's offset in the file, its length and the file's, None where not told."""

    offset: int
    body_bytes: int | None
    total_bytes: int | None


def span_of(status: int, headers: Mapping[str, str], asked_offset: int) -> Span:
    """Return what the body behind a head is.

    Raises ReplyBroken for a success that carries no content (204), for several parts, for a length that no file has,
    and for a 206 that does not begin at or before the byte that was asked for.
    """
    if status not in (200, 206):
        raise ReplyBroken(f"the service answered a download with {status}, which is no content")
    if headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise ReplyBroken("the service sent several parts of a file where one was asked for")
    length = _content_length(headers)
    if status != 206:
        return Span(0, length, length)
    match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None or is_encoded(headers):
        raise ReplyBroken("the service sent a part of a file without saying which")
    first, last = int(match[1]), _possible(int(match[2]))
    total = None if match[3] == "*" else _possible(int(match[3]))
    body_bytes = last - first + 1
    fits = first <= asked_offset <= last and length in (None, body_bytes) and (total is None or last < total)
    if not fits:
        raise ReplyBroken(
            f"the service was asked for byte {asked_offset} and sent bytes {first} to {last} of {match[3]}"
        )
    return Span(first, body_bytes, total)


def range_header(offset: int, length: int | None) -> str:
    """The value of `Range` for `length` bytes from `offset` on."""
    return f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"


def shows_ranges(status: int, headers: Mapping[str, str], *, asked: bool) -> bool | None:
    """Whether a 200 or 206 shows that ranges are honoured; None where it does not tell."""
    if status == 206 or asked:
        return status == 206
    return {"bytes": True, "none": False}.get(headers.get("accept-ranges", "").strip().lower())


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether something on the way compressed the body, so that its announced length is not the content's."""
    return _encoding(headers) not in ("", "identity")


class Pieces:
    """The unpacked pieces of a reply's body, errors told in this project's terms; `on_heard` is called for each.

    Closing unwinds httpx's chain of generators: one that is dropped while suspended is, under trio, a warning.
    """

    def __init__(self, response: httpx.Response, on_heard: Callable[[], None] = lambda: None) -> None:
        self._response = response
        self._on_heard = on_heard
        self._raw: AsyncIterator[bytes] = response.aiter_raw()
        self._unpacker: Unpacker | None = None

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        if not is_encoded(self._response.headers):
            return await self._next_raw()
        if self._unpacker is None:
            self._unpacker = Unpacker(_encoding(self._response.headers))
        return await self._next_unpacked(self._unpacker)

    async def _next_unpacked(self, unpacker: Unpacker) -> bytes:
        while not (piece := unpacker.take()):
            try:
                unpacker.feed(await self._next_raw())
            except StopAsyncIteration:
                unpacker.finish()
                raise
        return piece

    async def _next_raw(self) -> bytes:
        failure: TransportError
        try:
            piece = await anext(self._raw)
        except (httpx.HTTPError, httpx.StreamError) as error:
            failure = broken(error)
        else:
            self._on_heard()
            return piece
        raise failure

    def expect(self, size: int) -> None:
        """The next piece need not come before it has so many bytes, which the body still has, if they come soon."""
        connection = self._response.extensions.get("network_stream")
        if isinstance(connection, Connection):
            connection.expect(size)

    async def aclose(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        with trio.move_on_after(_CLOSE_WAIT_S, shield=True):
            await self._response.aclose()
            try:
                while True:
                    await anext(self._raw)
            except (StopAsyncIteration, httpx.HTTPError, httpx.StreamError):
                return


class Download:
    """A body under way: iterate it once. `offset` is where it really starts (0 when Range was not honoured),
    `total_bytes` the length of the whole file, `ranges` whether ranges are honoured, both None where the reply does not
    tell; `mime_type` as sent.

    Iterating raises ReplyBroken when the body ends before, or runs past, its announced length.
    """

    def __init__(self, span: Span, mime_type: str | None, pieces: Pieces, ranges: bool | None = None) -> None:
        self.offset = span.offset
        self.total_bytes = span.total_bytes
        self.mime_type = mime_type
        self.ranges = ranges
        self._span = span
        self._received = 0
        self._pieces = pieces

    def __aiter__(self) -> Download:
        return self

    async def __anext__(self) -> bytes:
        announced = self._span.body_bytes
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            if announced not in (None, self._received):
                raise self._wrong_length() from None
            raise
        self._received += len(piece)
        if announced is not None and self._received > announced:
            raise self._wrong_length()
        return piece

    def expect(self, size: int) -> None:
        """The next piece need not come before it has so many bytes, if they come soon."""
        if self._span.body_bytes is not None:
            self._pieces.expect(min(size, self._span.body_bytes - self._received))

    async def aclose(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        await self._pieces.aclose()

    def _wrong_length(self) -> ReplyBroken:
        return ReplyBroken(f"a download of {self._span.body_bytes} bytes gave {self._received}")


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "identity").strip().lower()


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return _possible(int(text)) if _LENGTH.fullmatch(text) and not is_encoded(headers) else None


def _possible(length: int) -> int:
    if length > MOST_FILE_BYTES:
        raise ReplyBroken(f"the service announced {length} bytes, which no file has")
    return length
