"""Checks a reply against the file that is known: a body that cannot be its content is not read (R6, S4).

A page of a network portal, an error in the shape of a success, an empty body: each would be kept as the content, or
teach a false length. A length that differs is not judged here, because generated media may have one (`Lengths`); but a
body is read no further than the longest content that the file can have, for it may never end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from remotefs.api.budget import Ticket
from remotefs.data.download.source import ContentStream
from remotefs.errors import LengthDiffers, ReplyBroken
from remotefs.store.records import Remote
from remotefs.store.remotes import Remotes

# Kinds that can carry content credentials, which the service adds on the way out.
_MEDIA = ("image/", "video/", "audio/", "application/pdf")
# SVG is text.
_TEXTUAL_MEDIA = "image/svg"
_PAGES = ("text/html", "application/xhtml+xml")
_PAGE_NAMES = (".html", ".htm", ".xhtml", ".xht", ".shtml", ".mhtml")
_TEXTS = ("text/", "application/json", "application/problem+json", "application/xml")

# The service may add this much to generated media, such as content credentials, which take kilobytes.
MOST_ADDED_BYTES = 16 << 20


def may_differ(remote: Remote) -> bool:
    """Return whether the content of a file may be longer or shorter than listed (R6); never if it went up here."""
    return bool(remote.downloadable) and remote.digest is None and remote.mime_type.lower().startswith(_MEDIA)


def fault_of(remote: Remote, total_bytes: int | None, mime_type: str | None) -> str | None:
    """Return why a reply cannot be the content of a file, for people; None where it can.

    `total_bytes` is the length that the reply tells of the whole file, None where it tells none. A body of the listed
    length is the content whatever it is called.
    """
    if total_bytes is not None and total_bytes in (remote.size, remote.size_as_listed):
        return None
    if total_bytes == 0:
        return f"the service sent nothing of {remote.size_as_listed} bytes"
    kind = (mime_type or "").partition(";")[0].strip().lower()
    if kind in _PAGES and not _is_page(remote):
        return "the service sent an HTML page in its place, as a proxy or a portal does"
    if kind.startswith(_TEXTS) and _is_no_text(remote):
        return f"the service sent {kind} in its place"
    return None


def most_bytes(remote: Remote) -> int:
    """Return the length (bytes) of the longest body that can be the content of a file."""
    listed = max(remote.size, remote.size_as_listed)
    return listed + MOST_ADDED_BYTES if may_differ(remote) else listed


def _is_page(remote: Remote) -> bool:
    return "html" in remote.mime_type.lower() or remote.filename.lower().endswith(_PAGE_NAMES)


def _is_no_text(remote: Remote) -> bool:
    kind = remote.mime_type.lower()
    return kind.startswith(_MEDIA) and not kind.startswith(_TEXTUAL_MEDIA)


class TypedReply(ContentStream, Protocol):
    """A body under way, and its type."""

    @property
    def mime_type(self) -> str | None:
        """Return the Content-Type of the reply, or None."""
        ...


class BoundedReply:
    """A body under way that ends with LengthDiffers at its first byte beyond the longest content of its file."""

    def __init__(self, reply: ContentStream, remote: Remote) -> None:
        self.offset = reply.offset
        self.total_bytes = reply.total_bytes
        self.ranges = reply.ranges
        self._reply = reply
        self._pieces = aiter(reply)
        self._remote = remote
        self._left = most_bytes(remote) - reply.offset

    def expect(self, size: int) -> None:
        """See ContentStream."""
        self._reply.expect(size)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._left -= len(piece)
        if self._left < 0:
            raise LengthDiffers(self._remote.file_id, self._remote.size_as_listed, None, in_body=True)
        return piece


class Service(Protocol):
    """The one method of the API client that is needed here."""

    def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AbstractAsyncContextManager[TypedReply]:
        """Open the content from `offset` on. Raises RefusedError, TransportError."""
        ...


class VettedService:
    """The service, without replies that cannot be the content of the file, or only as far as they can be."""

    def __init__(self, service: Service, remotes: Remotes) -> None:
        self._service = service
        self._remotes = remotes

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AsyncGenerator[ContentStream, None]:
        """See ContentSource; raises ReplyBroken for a reply that cannot be the content of the file."""
        async with self._service.download(file_id, offset=offset, length=length, priority=priority) as reply:
            remote = self._remotes.find(file_id)
            fault = fault_of(remote, reply.total_bytes, reply.mime_type) if remote is not None else None
            if fault is not None:
                raise ReplyBroken(f"{file_id}: {fault}")
            yield reply if remote is None else BoundedReply(reply, remote)
