"""One prefix of a bucket or folder that machines share: objects under keys, for tasks of trio."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import trio

from remotefs.errors import ObjectStoreError, UsageError
from remotefs.objects.backend import PART_BYTES, Backend, Body, ObjectEntry
from remotefs.objects.folder import Folder
from remotefs.objects.link import Link
from remotefs.objects.source import Source
from remotefs.place_kinds import StoreAddress, store_address

__all__ = ["ObjectEntry", "ObjectStore"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
Waiting = Callable[[], AbstractContextManager[None]]
# A hung store holds them until its timeouts; the rest of the mount has threads of its own.
_THREADS = 48
# Each large put holds some 32 MiB.
_LARGE_PUTS = 2


class ObjectStore:
    """The objects of one prefix. Each method raises ObjectStoreError, of the branch that says who is to blame."""

    def __init__(self, backend: Backend, link: Link | None = None) -> None:
        """Use a backend in threads, over a link."""
        self._backend = backend
        self._link = link or Link()
        self.limiter = trio.CapacityLimiter(_THREADS)
        self._large = trio.Semaphore(_LARGE_PUTS)

    @classmethod
    def open(cls, url: str, link: Link | None = None) -> ObjectStore:
        """Return the store at an address, whose bytes go over `link`; asks no network.

        Raises UsageError for a wrong address and for one that needs the extra `shared`, ObjectStoreUnusable for a
        folder that does not exist, ObjectStoreDenied for one that cannot be seen.
        """
        try:
            address = StoreAddress().read(url)
            scheme, place = store_address(address)
        except ValueError:
            raise UsageError(f"the address of the shared store is not valid: give {StoreAddress().allowed}") from None
        if scheme == "file":
            return cls(Folder(address, Path(place)), link)
        try:
            from remotefs.objects.bucket import Bucket  # noqa: PLC0415 - loads obstore
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "obstore":
                raise
            raise UsageError(
                f"{address}: a shared store in a bucket needs a library: pip install 'remotefs[shared]'"
            ) from None
        return cls(Bucket(address), link)

    @property
    def url(self) -> str:
        """Return the address, which holds no secret."""
        return self._backend.url

    async def put(self, key: str, pieces: Callable[[], Iterable[bytes]], size: int) -> None:
        """Put an object of `size` bytes, whole or not at all, over any other of that key; it survives a power cut.

        `pieces` is called, and what it returns read, in a thread. Its exceptions get out, and so does a cancellation,
        at its next piece. Raises ObjectStoreError if it has another number of bytes, or if the store then says so.
        """
        source = Source(f"{self.url}/{key}", pieces, size, self._link.send_from_thread)
        async with self._large if size > PART_BYTES else contextlib.nullcontext():
            await self._write(self._put, key, source)

    async def create(self, key: str, data: bytes) -> bool:
        """Put a small object if the key is absent; it survives a power cut. Return whether it was.

        Of several that do so one gets True, and its bytes stay. After a lost reply False may mean one's own bytes.
        """
        await self._link.send(len(data))
        return await self._write(self._backend.create, key, data)

    async def get(
        self, key: str, *, start: int = 0, length: int | None = None, waiting: Waiting = contextlib.nullcontext
    ) -> bytes:
        """Return at most `length` bytes (None: all) of a small object from `start`. Raises ObjectMissing.

        `waiting` is entered while the limit of bandwidth lets nothing come.
        """
        if self._link.limits_downloads:
            async with self.stream(key, start=start, length=length, waiting=waiting) as pieces:
                return b"".join([piece async for piece in pieces])
        get = partial(self._read, self._backend.get, key, start, length)
        return await self._link.receive(get, had=0, waiting=waiting)

    def stream(
        self, key: str, *, start: int = 0, length: int | None = None, waiting: Waiting = contextlib.nullcontext
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Return the same bytes as a context that gives pieces of about 1 MiB, smaller ones where there is a limit.

        Entering it raises ObjectMissing.
        """
        open_body = partial(self._read, self._backend.open, key, start, length, self._link.piece_bytes)
        return _Stream(open_body, self._read_piece, partial(self._link.receive, waiting=waiting))

    async def size_of(self, key: str) -> int | None:
        """Return the bytes of an object, None if it is absent."""
        return await self._read(self._backend.size_of, key)

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, of which some may be absent."""
        if keys:
            await self._write(self._backend.delete, keys)

    async def copy(self, source: str, target: str) -> None:
        """Put the bytes of one object under another key, over any other. Raises ObjectMissing."""
        await self._write(self._backend.copy, source, target)

    def list(self, prefix: str, *, after: str = "") -> AsyncIterator[list[ObjectEntry]]:
        """Return the objects below the folder `prefix` ("": all) by ascending key, in pages of at most 1,000.

        Only keys greater than `after` are listed.
        """
        return _Pages(self._backend.pages(prefix, after), self._read_page)

    def _put(self, key: str, source: Source) -> None:
        try:
            self._backend.put(key, source)
        except ObjectStoreError:
            # The failure of the source, and not what a backend made of it.
            if source.failure is not None:
                raise source.failure from None
            raise

    async def _read_piece(self, body: Body) -> bytes:
        return await self._read(body.next) or b""

    async def _read_page(self, pages: Iterator[Page]) -> Page | None:
        return await self._read(lambda: next(pages, None))

    async def _read(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call in a thread that is left behind when the task is cancelled."""
        return await trio.to_thread.run_sync(
            lambda: call(*args, **kwargs), limiter=self.limiter, abandon_on_cancel=True
        )

    async def _write(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Call in a thread whose end is waited for."""
        return await trio.to_thread.run_sync(lambda: call(*args, **kwargs), limiter=self.limiter)


Page = list[ObjectEntry]


class _Receive(Protocol):
    def __call__(self, read: Callable[[], Awaitable[bytes]], *, had: int) -> Awaitable[bytes]: ...


class _Stream(AbstractAsyncContextManager[AsyncIterator[bytes]], AsyncIterator[bytes]):
    """The pieces of an open body, each when it is its turn."""

    def __init__(
        self, open_body: Callable[[], Awaitable[Body]], read: Callable[[Body], Awaitable[bytes]], receive: _Receive
    ) -> None:
        self._open = open_body
        self._read = read
        self._receive = receive
        self._body: Body | None = None
        self._had = 0

    async def __aenter__(self) -> AsyncIterator[bytes]:
        self._body = await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._body is not None:
            self._body.close()

    async def __anext__(self) -> bytes:
        assert self._body is not None, "a stream is read inside of its context"
        if not (piece := await self._receive(partial(self._read, self._body), had=self._had)):
            raise StopAsyncIteration
        self._had += len(piece)
        return piece


class _Pages(AsyncIterator[Page]):
    """The pages of a listing; one may stop early."""

    def __init__(self, pages: Iterator[Page], read: Callable[[Iterator[Page]], Awaitable[Page | None]]) -> None:
        self._pages = pages
        self._read = read

    async def __anext__(self) -> Page:
        if (page := await self._read(self._pages)) is None:
            raise StopAsyncIteration
        return page
