"""Requests under way: uploads by inode, with the moment until which one may be cut (W4, W9), and deletes by id.

Until its last byte has gone out an upload can be cut and has no effect. After that its reply is awaited, because the
service has the file.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from types import MappingProxyType

import trio

from remotefs.api.upload import UploadSource


class UploadInFlight:
    """One upload under way: `sent_bytes` of its `size_bytes` (0 until its body is made) have gone out.

    Writes do not change the bytes of a `frozen` one.
    """

    def __init__(self, generation: int, *, frozen: bool) -> None:
        self.generation = generation
        self.frozen = frozen
        self.scope = trio.CancelScope()
        self.all_sent = False
        self.size_bytes = 0
        self.sent_bytes = 0

    def mark_all_sent(self) -> None:
        """Note that the last byte has gone out: the upload is not to be cut any more."""
        self.all_sent = True


class MeteredSource:
    """The bytes of an upload, counted as the kernel takes them; each try counts from zero again."""

    def __init__(self, source: UploadSource, upload: UploadInFlight) -> None:
        self._source = source
        self._upload = upload
        upload.size_bytes = source.size_bytes

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
        self._upload.sent_bytes = 0
        async with aclosing(self._source.pieces()) as pieces:
            async for piece in pieces:
                yield piece
                self._upload.sent_bytes += len(piece)


class UploadsInFlight:
    """Knows the requests under way: at most one upload for an inode, one delete for an id."""

    def __init__(self) -> None:
        self._in_flight: dict[int, UploadInFlight] = {}
        self._deletes: set[str] = set()

    @contextmanager
    def register(self, ino: int, generation: int, *, frozen: bool = False) -> Iterator[UploadInFlight]:
        """Register an upload for as long as it takes; when it is cut, the block ends with `scope.cancelled_caught`."""
        assert ino not in self._in_flight, "one upload an inode at a time"
        upload = self._in_flight[ino] = UploadInFlight(generation, frozen=frozen)
        try:
            with upload.scope:
                yield upload
        finally:
            del self._in_flight[ino]

    def cancel(self, ino: int) -> None:
        """Cut the upload of an inode, frozen or not, unless its last byte has gone out."""
        upload = self._in_flight.get(ino)
        if upload is not None and not upload.all_sent:
            upload.scope.cancel()

    def overtake(self, ino: int) -> bool:
        """Cut the upload of an inode whose bytes are about to change; return whether it was cut.

        A frozen version does not change, and after the last byte nothing is cut.
        """
        upload = self._in_flight.get(ino)
        if upload is None or upload.frozen or upload.all_sent:
            return False
        upload.scope.cancel()
        return True

    def will_arrive(self, ino: int) -> bool:
        """Return whether an upload of the inode is under way that goes on whatever is written."""
        upload = self._in_flight.get(ino)
        return upload is not None and (upload.frozen or upload.all_sent)

    @property
    def under_way(self) -> Mapping[int, UploadInFlight]:
        """Return the uploads under way by inode."""
        return MappingProxyType(self._in_flight)

    @contextmanager
    def delete(self, file_id: str) -> Iterator[None]:
        """Register a DELETE for as long as it takes: from here on it cannot be taken back."""
        self._deletes.add(file_id)
        try:
            yield
        finally:
            self._deletes.discard(file_id)

    def is_deleting(self, file_id: str) -> bool:
        """Return whether the DELETE of an id may have been sent."""
        return file_id in self._deletes

    def __contains__(self, ino: int) -> bool:
        return ino in self._in_flight

    def __len__(self) -> int:
        return len(self._in_flight)
