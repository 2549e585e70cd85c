"""What the rest of remotefs needs of the API client, one protocol a kind of request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from remotefs.api.budget import Priority, Ticket
from remotefs.api.models import FileMetadata, Page
from remotefs.api.upload import UploadSource


class PageLister(Protocol):
    """Lists the files of the service page by page."""

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        """Yield the pages of the whole listing, newest file first."""
        ...


class IdLister(Protocol):
    """Asks the service for files by their ids."""

    @property
    def shape(self) -> str:
        """Return the shape that the server speaks: only in `ga` can one request ask for many ids."""
        ...

    async def list_ids(self, ids: Sequence[str], *, priority: Priority) -> tuple[FileMetadata, ...]:
        """Return the metadata of those of these ids that the service has."""
        ...

    async def metadata(self, file_id: str, *, priority: Priority) -> FileMetadata:
        """Return the metadata of one file. Raises RemoteNotFound."""
        ...


class FileFinder(PageLister, IdLister, Protocol):
    """Lists the files of the service, and asks for single ones where the listing cannot be read."""


class FileDeleter(Protocol):
    """Deletes files at the service."""

    async def delete(
        self, file_id: str, *, priority: Priority, before_sending: Callable[[], None] | None = None
    ) -> None:
        """Delete a file for good. Raises RemoteNotFound where it is gone already.

        `before_sending` is called right before each attempt goes out; an exception from it stops the attempt.
        """
        ...


class FileSender(Protocol):
    """Uploads files."""

    async def upload(
        self,
        name: str,
        source: UploadSource,
        *,
        priority: Priority | Ticket,
        expires_in_s: int | None = None,
        on_all_sent: Callable[[], None] | None = None,
    ) -> FileMetadata:
        """Upload one file and return its metadata. Raises AmbiguousOutcome rather than send twice."""
        ...
