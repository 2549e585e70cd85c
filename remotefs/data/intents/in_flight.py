"""Requests under way: uploads by inode, and the right moment to cut one (W4, W9); deletes by id.

Until its last byte was sent an upload can be cut and has no effect; after that its reply is awaited, for the service
has the file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from types import MappingProxyType

import trio

from remotefs.api.upload import UploadSource


class UploadInFlight:
    """One upload under way; of `size_bytes` (0 until its body is made) `sent_bytes` went out.

    What a `frozen` one sends is not changed by writes.
    """

    def __init__(self, generation: int, *, frozen: bool) -> None:
        self.generation = generation
        self.frozen = frozen
        self.scope = trio.CancelScope()
        self.all_sent = False
        self.size_bytes = 0
        self.sent_bytes = 0

    def mark_all_sent(self) -> None:
        """The last byte went out."""
        self.all_sent = True


class MeteredSource:
    """What a flight sends, counted as the kernel takes it; each attempt starts anew."""

    def __init__(self, source: UploadSource, flight: UploadInFlight) -> None:
        self._source = source
        self._flight = flight
        flight.size_bytes = source.size_bytes

    @property
    def size_bytes(self) -> int:
        """See UploadSource."""
        return self._source.size_bytes

    @property
    def mime_type(self) -> str:
        """See UploadSource."""
        return self._source.mime_type

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """See UploadSource."""
        self._flight.sent_bytes = 0
        async with aclosing(self._source.pieces()) as pieces:
            async for piece in pieces:
                yield piece
                self._flight.sent_bytes += len(piece)


class UploadsInFlight:
    """At most one upload an inode, one delete an id."""

    def __init__(self) -> None:
        self._in_flight: dict[int, UploadInFlight] = {}
        self._deletes: set[str] = set()

    @contextmanager
    def register(self, ino: int, generation: int, *, frozen: bool = False) -> Iterator[UploadInFlight]:
        """Register an upload for as long as it takes; when it is cut, the block ends with `scope.cancelled_caught`."""
        assert ino not in self._in_flight, "one upload an inode at a time"
        flight = self._in_flight[ino] = UploadInFlight(generation, frozen=frozen)
        try:
            with flight.scope:
                yield flight
        finally:
            del self._in_flight[ino]

    def cancel(self, ino: int) -> None:
        """What is being sent is no longer wanted."""
        flight = self._in_flight.get(ino)
        if flight is not None and not flight.all_sent:
            flight.scope.cancel()

    def overtake(self, ino: int) -> bool:
        """What is being sent is about to change, unless it is frozen; whether its upload was cut."""
        flight = self._in_flight.get(ino)
        if flight is None or flight.frozen or flight.all_sent:
            return False
        flight.scope.cancel()
        return True

    def will_arrive(self, ino: int) -> bool:
        """Whether the upload of an inode goes on whatever is written."""
        flight = self._in_flight.get(ino)
        return flight is not None and (flight.frozen or flight.all_sent)

    @property
    def under_way(self) -> Mapping[int, UploadInFlight]:
        """By inode."""
        return MappingProxyType(self._in_flight)

    @contextmanager
    def delete(self, file_id: str) -> Iterator[None]:
        """Register a DELETE for as long as it takes: it is no longer to be stopped."""
        self._deletes.add(file_id)
        try:
            yield
        finally:
            self._deletes.discard(file_id)

    def is_deleting(self, file_id: str) -> bool:
        """Whether the id's DELETE may have been sent."""
        return file_id in self._deletes

    def __contains__(self, ino: int) -> bool:
        return ino in self._in_flight

    def __len__(self) -> int:
        return len(self._in_flight)
