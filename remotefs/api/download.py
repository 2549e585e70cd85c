"""The stream down: the pieces of a reply's body, and a download's body with its place in the file and its length.

The vendor documents neither Range nor Content-Length for downloads. So Range is a hint: `span_of` reads from the head
of a reply which bytes follow, whatever was asked for, and `Download` checks the body against it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import msgspec
import trio

from remotefs.api.bandwidth import Bandwidth
from remotefs.api.bounds import MOST_FILE_BYTES
from remotefs.api.budget import Ticket
from remotefs.api.decompression import Unpacker
from remotefs.api.http import httpx
from remotefs.api.large_reads import Connection
from remotefs.api.transport import broken
from remotefs.errors import DeadlineExceeded, ReplyBroken, TransportError

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_LENGTH = re.compile(r"\d{1,30}", re.ASCII)
# Pieces that came with one read are handed out without a wait. After so many of them, or this many bytes, others get
# their turn: a body in chunks of one byte would hold them up for seconds.
_TURN_PIECES = 64
_TURN_BYTES = 1024 * 1024
# A packed body that brings nothing for this many bytes is none: empty blocks can go on for ever.
_MOST_PACKED_IN_VAIN = 1024 * 1024
# What a piece counts at least, because many small ones cost as much as one large one.
_LEAST_PACKED = 256
# A body that brings less than LEAST_BYTES in LEAST_BYTES_S of waiting (or the time limit between two of its pieces, if
# that is longer) does not end in any useful time: the slowest link brings more, also to one of many streams.
LEAST_BYTES = 16 * 1024
LEAST_BYTES_S = 60.0
# A connection that does not close in this time is left to the garbage collector.
_CLOSE_WAIT_S = 5.0


class Span(msgspec.Struct, frozen=True):
    """The place of a body in its file: the offset of its first byte, its length and the file's length, in bytes.

    A length is None when the reply does not give it.
    """

    offset: int
    body_bytes: int | None
    total_bytes: int | None


def span_of(status: int, headers: Mapping[str, str], asked_offset: int) -> Span:
    """Return the place in its file of the body that follows a head.

    Raises ReplyBroken for a success that carries no content (204), for several parts, for a length that no file has,
    and for a 206 that does not say which bytes it has, does not contain byte `asked_offset` or contradicts itself.
    """
    if status not in (200, 206):
        raise ReplyBroken(f"the service answered a download with {status}, which carries no content")
    if headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise ReplyBroken("the service sent several parts of a file in reply to a request for one")
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
            f"asked for byte {asked_offset} of a file, the service sent bytes {first} to {last} of {match[3]}"
        )
    return Span(first, body_bytes, total)


def range_header(offset: int, length: int | None) -> str:
    """Return the value of the Range header for `length` bytes from `offset` on; None for the rest of the file."""
    return f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"


def shows_ranges(status: int, headers: Mapping[str, str], *, asked: bool) -> bool | None:
    """Return whether a 200 or 206 shows that the service honours ranges; None when it does not show it.

    `asked` says whether the request had a Range header.
    """
    if status == 206 or asked:
        return status == 206
    return {"bytes": True, "none": False}.get(headers.get("accept-ranges", "").strip().lower())


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Return whether something on the way compressed the body, so that Content-Length is not the content's length."""
    return _encoding(headers) not in ("", "identity")


class Pieces:
    """The decompressed pieces of a reply's body, with this project's exceptions; `on_heard` is called for each.

    `aclose` runs httpx's chain of generators to its end, because trio warns of a generator that is dropped while it is
    suspended.
    """

    def __init__(self, response: httpx.Response, on_heard: Callable[[], None] = lambda: None) -> None:
        self._response = response
        self._on_heard = on_heard
        self._raw: AsyncIterator[bytes] = response.aiter_raw()
        self._unpacker: Unpacker | None = None
        # The pieces and the bytes since other tasks last got a turn.
        self._pieces_in_turn = self._bytes_in_turn = 0

    def __aiter__(self) -> Pieces:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._next()
        self._pieces_in_turn += 1
        self._bytes_in_turn += len(piece)
        if self._pieces_in_turn >= _TURN_PIECES or self._bytes_in_turn >= _TURN_BYTES:
            self._pieces_in_turn = self._bytes_in_turn = 0
            await trio.lowlevel.checkpoint()
        return piece

    async def _next(self) -> bytes:
        if not is_encoded(self._response.headers):
            return await self._next_raw()
        if self._unpacker is None:
            self._unpacker = Unpacker(_encoding(self._response.headers))
        return await self._next_unpacked(self._unpacker)

    async def _next_unpacked(self, unpacker: Unpacker) -> bytes:
        in_vain = 0
        while not (piece := unpacker.take()):
            if in_vain > _MOST_PACKED_IN_VAIN:
                raise ReplyBroken(f"{in_vain} bytes of the packed body of a reply brought no content")
            try:
                packed = await self._next_raw()
            except StopAsyncIteration:
                unpacker.finish()
                raise
            unpacker.feed(packed)
            in_vain += max(len(packed), _LEAST_PACKED)
            await trio.lowlevel.checkpoint()
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
        """Let the next piece wait a moment until it has `size` bytes, which the body still has (`large_reads`)."""
        connection = self._response.extensions.get("network_stream")
        if isinstance(connection, Connection):
            connection.expect(size)

    def read_at_most(self, size: int) -> None:
        """Let each piece have at most about `size` bytes."""
        connection = self._response.extensions.get("network_stream")
        if isinstance(connection, Connection):
            connection.read_at_most(size)

    async def aclose(self) -> None:
        """Return the connection to the pool when the body was read to its end; close it otherwise."""
        with trio.move_on_after(_CLOSE_WAIT_S, shield=True):
            await self._response.aclose()
            try:
                while True:
                    await anext(self._raw)
            except (StopAsyncIteration, httpx.HTTPError, httpx.StreamError):
                return


class Floor:
    """Ends a body that drips: each piece is in time, and still it might take days.

    Only the time in which somebody waits for a piece counts, so a body may be left unread for as long as one likes.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = max(within_s, LEAST_BYTES_S)
        self._left_s = self._within_s
        self._left_bytes = LEAST_BYTES

    async def next(self, pieces: AsyncIterator[bytes]) -> bytes:
        """Return the next piece. Raises DeadlineExceeded when too few bytes have come."""
        began = trio.current_time()
        with trio.move_on_at(began + self._left_s):
            piece = await anext(pieces)
            self._left_s -= trio.current_time() - began
            self._left_bytes -= len(piece)
            if self._left_bytes <= 0:
                self._left_s, self._left_bytes = self._within_s, LEAST_BYTES
            return piece
        raise DeadlineExceeded(f"the service sent less than {LEAST_BYTES} bytes in {self._within_s:g} s")


class Turns:
    """Lets a stream read only when the limit of bandwidth has room for it.

    The wait is marked on the ticket of the request: a reader that watches it must not count the wait as the service's.
    """

    def __init__(self, bandwidth: Bandwidth, ticket: Ticket) -> None:
        self._bandwidth = bandwidth
        self._ticket = ticket

    @property
    def slice_bytes(self) -> int:
        """Return how many bytes to read at a time."""
        return self._bandwidth.slice_bytes

    async def next(self, read: Callable[[], Awaitable[bytes]], *, had: int) -> bytes:
        """Return what `read` returns for a stream that has had `had` bytes, once it is its turn."""
        piece = await self._bandwidth.slice(read, had=had, waiting=self._ticket.waiting)
        self._bandwidth.flowed_bytes += len(piece)
        return piece


class Download:
    """The body of a download; iterate it once.

    `offset` is where it really starts (0 when the service did not honour Range), `total_bytes` the length of the whole
    file, `ranges` whether the service honours ranges, `mime_type` the type that it sent. The last three are None when
    the reply does not say.

    Iterating raises ReplyBroken when the body ends before its announced length or runs past it, and DeadlineExceeded
    when it brings too little for too long (`Floor`); `on_failed` is called with either.
    """

    def __init__(
        self,
        span: Span,
        mime_type: str | None,
        pieces: Pieces,
        floor: Floor,
        turns: Turns,
        on_failed: Callable[[Exception], None],
        ranges: bool | None = None,
    ) -> None:
        self.offset = span.offset
        self.total_bytes = span.total_bytes
        self.mime_type = mime_type
        self.ranges = ranges
        self._span = span
        self._received = 0
        self._pieces = pieces
        self._floor = floor
        self._turns = turns
        self._on_failed = on_failed

    def __aiter__(self) -> Download:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._next()
        except TransportError as error:
            self._on_failed(error)
            raise

    async def _next(self) -> bytes:
        announced = self._span.body_bytes
        self._pieces.read_at_most(self._turns.slice_bytes)
        try:
            piece = await self._turns.next(lambda: self._floor.next(self._pieces), had=self._received)
        except StopAsyncIteration:
            if announced not in (None, self._received):
                raise self._wrong_length() from None
            raise
        self._received += len(piece)
        if announced is not None and self._received > announced:
            raise self._wrong_length()
        return piece

    def expect(self, size: int) -> None:
        """Let the next piece wait a moment until it has `size` bytes, when the length of the body is known."""
        if self._span.body_bytes is not None:
            self._pieces.expect(min(size, self._turns.slice_bytes, self._span.body_bytes - self._received))

    async def aclose(self) -> None:
        """Return the connection to the pool when the body was read to its end; close it otherwise."""
        await self._pieces.aclose()

    def _wrong_length(self) -> ReplyBroken:
        return ReplyBroken(f"a download was announced as {self._span.body_bytes} bytes and had {self._received}")


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "identity").strip().lower()


def _content_length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    return _possible(int(text)) if _LENGTH.fullmatch(text) and not is_encoded(headers) else None


def _possible(length: int) -> int:
    if length > MOST_FILE_BYTES:
        raise ReplyBroken(f"the service announced {length} bytes, more than any file has")
    return length
