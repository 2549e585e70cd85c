"""The sending half of an upload: where the bytes come from, and the body that counts what was handed over."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from remotefs import crashpoints
from remotefs.api.http import httpx
from remotefs.api.multipart import Form
from remotefs.config import MIB
from remotefs.errors import AmbiguousOutcome, LocalError, Overloaded, RefusedError, TransportError

# Large enough that a thread's hand-over does not show, small enough that a dozen uploads fit into memory.
PIECE_BYTES = MIB
_T = TypeVar("_T")


class UploadSource(Protocol):
    """What can be uploaded: a known length and a way to read it from its start, possibly more than once."""

    @property
    def size_bytes(self) -> int:
        """Exactly what `pieces` gives in sum."""
        ...

    @property
    def mime_type(self) -> str:
        """As the service shall store it."""
        ...

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes from the start, in pieces that are not empty; closed by the one who asked for them."""
        ...


class FileSource(msgspec.Struct, frozen=True):
    """The first `size_bytes` of a file on this disk, read in threads in pieces of 1 MiB."""

    path: Path
    size_bytes: int
    mime_type: str

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """See UploadSource; raises LocalError when the file cannot be read or is shorter."""
        descriptor = await _in_thread(self.path, os.open, self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = 0
            while at < self.size_bytes:
                wanted = min(PIECE_BYTES, self.size_bytes - at)
                piece = await _in_thread(self.path, os.pread, descriptor, wanted, at)
                if not piece:
                    raise LocalError(f"{self.path}: it was to be uploaded with {self.size_bytes} bytes and has {at}")
                yield piece
                at += len(piece)
        finally:
            os.close(descriptor)


class BytesSource(msgspec.Struct, frozen=True):
    """Bytes in memory."""

    content: bytes
    mime_type: str = "application/octet-stream"

    @property
    def size_bytes(self) -> int:
        """Their number."""
        return len(self.content)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """See UploadSource."""
        for at in range(0, len(self.content), PIECE_BYTES):
            yield self.content[at : at + PIECE_BYTES]


class UploadBody(httpx.AsyncByteStream):
    """One attempt's body: the form around the source's pieces, as long as was announced.

    `all_sent` turns true when httpx asks for more after the last piece: then the kernel has taken every byte of it.
    Before that the announced Content-Length is not complete, so the service cannot take the request for a whole one,
    whatever ended it. `on_all_sent` is called as that piece is handed over: a cancellation that was asked for before
    comes before it goes out, one that is asked for later may come too late. An iterator of its own, not a generator,
    because httpcore drops it half read when a request is cut, and trio takes a dropped generator for a mistake.

    Invariant: 0 <= _left <= source bytes; the suffix goes out with the piece that makes `_left` 0.
    """

    def __init__(
        self, form: Form, size_bytes: int, pieces: AsyncGenerator[bytes, None], on_all_sent: Callable[[], None] | None
    ) -> None:
        self.content_type = form.content_type
        self.content_length = len(form.prefix) + size_bytes + len(form.suffix)
        self.handed_over_bytes = 0
        self.all_sent = False
        self._form = form
        self._pieces = pieces
        self._left = size_bytes
        self._on_all_sent = on_all_sent

    def __aiter__(self) -> UploadBody:
        return self

    async def __anext__(self) -> bytes:
        if self.handed_over_bytes == self.content_length:
            self.all_sent = True
            crashpoints.reached("request is sent whole")
            raise StopAsyncIteration
        piece = b"" if self.handed_over_bytes else self._form.prefix
        if self._left:
            piece += await self._next_piece()
        if not self._left:
            piece += self._form.suffix
        self.handed_over_bytes += len(piece)
        crashpoints.reached("request gets a piece")
        if not self._left and self._on_all_sent is not None:
            self._on_all_sent()
        return piece

    async def _next_piece(self) -> bytes:
        piece = await anext(self._pieces, b"")
        if not 0 < len(piece) <= self._left:
            raise LocalError(f"the source of an upload changed: {self._left} bytes were left, {len(piece)} came")
        self._left -= len(piece)
        return piece


def after_all_sent(error: RefusedError | TransportError) -> RefusedError | TransportError:
    """What an error means once every byte was handed over: a definite refusal stays, all else is ambiguous (W6).

    408 is not definite: the service says that the request was not whole, and it was.
    """
    match error:
        case AmbiguousOutcome() | Overloaded():
            return error
        case RefusedError(status=status) if status < 500 and status != 408:
            return error
        case RefusedError():
            return AmbiguousOutcome(f"{error}; the file may have been stored all the same", request_id=error.request_id)
        case _:
            return AmbiguousOutcome(f"all was sent, and the answer cannot be read: {error}")


async def _in_thread(path: Path, call: Callable[..., _T], *args: Any) -> _T:
    try:
        return await trio.to_thread.run_sync(call, *args)
    except OSError as error:
        raise LocalError(f"{path}: it cannot be read for its upload: {error.strerror}") from error
