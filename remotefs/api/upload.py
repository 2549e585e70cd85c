"""The stream up: the sources of an upload's bytes, and the body that counts how many of them were handed over.

The count matters because an upload cannot be repeated blindly: the service has no idempotency key, and a second upload
is a second file. A request that certainly never left whole is sent again; after its last byte only the reply counts.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from remotefs import crashpoints
from remotefs.api.bandwidth import Bandwidth
from remotefs.api.http import httpx
from remotefs.api.multipart import Form
from remotefs.config import MIB
from remotefs.errors import AmbiguousOutcome, LocalError, Overloaded, RefusedError, TransportError

# Large enough that handing a piece over from its thread costs nothing that shows; small enough that a dozen uploads fit
# into memory.
PIECE_BYTES = MIB
_T = TypeVar("_T")


class UploadSource(Protocol):
    """Content to upload: its length, its type, and a way to read it from the start, possibly more than once."""

    @property
    def size_bytes(self) -> int:
        """Return the length in bytes; `pieces` yields exactly as many."""
        ...

    @property
    def mime_type(self) -> str:
        """Return the MIME type that the service shall store."""
        ...

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Return a generator of the bytes from the start, in non-empty pieces; the caller closes it."""
        ...


class FileSource(msgspec.Struct, frozen=True):
    """The first `size_bytes` of a file on this disk, read in threads in pieces of 1 MiB."""

    path: Path
    size_bytes: int
    mime_type: str

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes (see UploadSource). Raises LocalError when the file cannot be read or is shorter."""
        descriptor = await _in_thread(self.path, os.open, self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = 0
            while at < self.size_bytes:
                wanted = min(PIECE_BYTES, self.size_bytes - at)
                piece = await _in_thread(self.path, os.pread, descriptor, wanted, at)
                if not piece:
                    raise LocalError(f"{self.path}: cannot upload {self.size_bytes} bytes, the file has only {at}")
                yield piece
                at += len(piece)
        finally:
            os.close(descriptor)


class BytesSource(msgspec.Struct, frozen=True):
    """An upload source of bytes in memory."""

    content: bytes
    mime_type: str = "application/octet-stream"

    @property
    def size_bytes(self) -> int:
        """Return the number of bytes."""
        return len(self.content)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes (see UploadSource)."""
        for at in range(0, len(self.content), PIECE_BYTES):
            yield self.content[at : at + PIECE_BYTES]


class UploadBody(httpx.AsyncByteStream):
    """The request body of one attempt: the form around the source's pieces, exactly as long as announced.

    `all_sent` turns true when httpx asks for more after the last piece: the kernel has then taken every byte of it.
    Before that the body is shorter than its Content-Length, so the service cannot take the request for a complete one,
    however it ended. `on_all_sent` is called as the last piece is handed over: a cancellation requested before that
    takes effect before the piece goes out; one requested later may be too late. Where `bandwidth` has a limit, each
    piece is a slice of it, so that bytes keep flowing and the service does not take the connection for dead.

    The class is an iterator and not a generator, because httpcore drops it half read when a request is cut, and trio
    warns of a dropped generator.

    Invariant: 0 <= _left <= source bytes; the suffix goes out with the piece that makes `_left` 0.
    """

    def __init__(
        self,
        form: Form,
        size_bytes: int,
        pieces: AsyncGenerator[bytes, None],
        on_all_sent: Callable[[], None] | None,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self.content_type = form.content_type
        self.content_length = len(form.prefix) + size_bytes + len(form.suffix)
        self.handed_over_bytes = 0
        self.all_sent = False
        self._form = form
        self._pieces = pieces
        self._left = size_bytes
        self._on_all_sent = on_all_sent
        self._bandwidth = bandwidth
        # What is left of a piece of the source that goes out in slices.
        self._rest = memoryview(b"")

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
        if self._bandwidth is None:
            piece = await self._read()
        else:
            piece = await self._next_slice(self._bandwidth)
            self._bandwidth.flowed_bytes += len(piece)
        self._left -= len(piece)
        return piece

    async def _next_slice(self, bandwidth: Bandwidth) -> bytes:
        if not self._rest:
            piece = await self._read()
            if not bandwidth.rate:
                return piece
            self._rest = memoryview(piece)
        size = min(bandwidth.slice_bytes, len(self._rest))
        await bandwidth.take(size, had=self.handed_over_bytes)
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    async def _read(self) -> bytes:
        piece = await anext(self._pieces, b"")
        if not 0 < len(piece) <= self._left:
            raise LocalError(f"the source of an upload changed: {self._left} bytes were left, {len(piece)} came")
        return piece


def after_all_sent(error: RefusedError | TransportError) -> RefusedError | TransportError:
    """Return the error that `error` stands for once every byte was handed over (W6).

    A definite refusal stays as it is; everything else becomes an AmbiguousOutcome. 408 is not definite: with it the
    service says that the request was not complete, and it was.
    """
    match error:
        case AmbiguousOutcome() | Overloaded():
            return error
        case RefusedError(status=status) if status < 500 and status != 408:
            return error
        case RefusedError():
            return AmbiguousOutcome(f"{error}; the service may have stored the file", request_id=error.request_id)
        case _:
            return AmbiguousOutcome(f"the whole request was sent, but its reply cannot be read: {error}")


async def _in_thread(path: Path, call: Callable[..., _T], *args: Any) -> _T:
    try:
        return await trio.to_thread.run_sync(call, *args)
    except OSError as error:
        raise LocalError(f"{path}: cannot be read for its upload: {error.strerror}") from error
