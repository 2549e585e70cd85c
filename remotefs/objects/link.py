"""The link to a store: the limits of bandwidth, which are those of the whole mount, and what went over it so far."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import trio

from remotefs.objects.backend import PIECE_BYTES


class Pace(Protocol):
    """One direction of the link, which streams share in slices."""

    @property
    def rate(self) -> int:
        """Return the limit in bytes per second, 0 for none."""
        ...

    @property
    def slice_bytes(self) -> int:
        """Return how many bytes a stream should send or read at a time."""
        ...

    async def take(self, size: int, *, had: int) -> None:
        """Wait until `size` more bytes may flow on a stream that has had `had` bytes so far."""
        ...

    async def slice(
        self, read: Callable[[], Awaitable[bytes]], *, had: int, waiting: Callable[[], AbstractContextManager[None]]
    ) -> bytes:
        """Return what `read` returns for a stream that has had `had` bytes, once it is its turn."""
        ...


class Link:
    """Both directions; None has no limit. It is used by tasks of trio, and by the threads that they wait for."""

    def __init__(self, uploads: Pace | None = None, downloads: Pace | None = None) -> None:
        self._uploads = uploads
        self._downloads = downloads
        # The bytes of objects, repeated attempts included.
        self.sent_bytes = 0
        self.received_bytes = 0
        self._lock = threading.Lock()

    @property
    def limits_downloads(self) -> bool:
        """Return whether there is a limit, so that pieces have to be small."""
        return self._downloads is not None and self._downloads.rate > 0

    @property
    def piece_bytes(self) -> int:
        """Return how many bytes a body should bring at a time."""
        downloads = self._downloads
        return PIECE_BYTES if downloads is None or not downloads.rate else min(PIECE_BYTES, downloads.slice_bytes)

    async def receive(
        self, read: Callable[[], Awaitable[bytes]], *, had: int, waiting: Callable[[], AbstractContextManager[None]]
    ) -> bytes:
        """Return what `read` returns for a body that has had `had` bytes, once it is its turn; see Bandwidth.slice."""
        downloads = self._downloads
        piece = await (read() if downloads is None else downloads.slice(read, had=had, waiting=waiting))
        self.received_bytes += len(piece)
        return piece

    async def send(self, size: int, *, had: int = 0) -> None:
        """Return once `size` more bytes may go up for an object that has had `had`."""
        left = size
        while self._uploads is not None and self._uploads.rate and left > 0:
            piece = min(left, self._uploads.slice_bytes)
            await self._uploads.take(piece, had=had + size - left)
            left -= piece
        self._sent(size)

    def send_from_thread(self, size: int, had: int) -> None:
        """Do the same in a thread of trio. Raises trio.Cancelled."""
        trio.from_thread.check_cancelled()
        if self._uploads is not None and self._uploads.rate:
            trio.from_thread.run(partial(self.send, size, had=had))
        else:
            self._sent(size)

    def _sent(self, size: int) -> None:
        with self._lock:
            self.sent_bytes += size
