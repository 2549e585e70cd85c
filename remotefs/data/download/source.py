"""The sources of content that is not on this disk; the last one is the service.

A nearer source, such as a cache that several machines share, wraps the next one. It answers from the content that it
holds, requests the rest from the next source, and may keep the replies that pass through it. Nobody has to ask whether
its content is still right, because the content of an id never changes. The transfer compares the length of each reply
with the listed length, and the bytes get checksums once they are on this disk; the source answers for the bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Protocol

import trio

from remotefs.api.budget import Ticket
from remotefs.api.connectivity import Connectivity
from remotefs.errors import DeadlineExceeded, Unreachable


class ContentStream(Protocol):
    """A body under way."""

    @property
    def offset(self) -> int:
        """Return the offset in the file at which the body begins: at or before the requested one."""
        ...

    @property
    def total_bytes(self) -> int | None:
        """Return the length of the whole file in bytes; None if the reply does not tell it."""
        ...

    @property
    def ranges(self) -> bool | None:
        """Return whether the reply shows that ranges are honoured; None if it does not show it."""
        ...

    def expect(self, size: int) -> None:
        """Allow the next piece to wait until it has `size` bytes, if they come soon."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ContentSource(Protocol):
    """A place to get content from. The API client is one."""

    def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AbstractAsyncContextManager[ContentStream]:
        """Open the content from `offset` on; `length` (bytes) is a hint. Raises RefusedError, TransportError."""
        ...


class ServiceSource:
    """The last source: the service. Reports downloads that had no answer to `connectivity`."""

    def __init__(self, service: ContentSource, connectivity: Connectivity) -> None:
        self._service = service
        self._connectivity = connectivity

    @asynccontextmanager
    async def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AsyncIterator[ContentStream]:
        """See ContentSource."""
        began = trio.current_time()
        request = self._service.download(file_id, offset=offset, length=length, priority=priority)
        async with AsyncExitStack() as stack:
            try:
                reply = await stack.enter_async_context(request)
            except (Unreachable, DeadlineExceeded) as error:
                self._connectivity.unheard(error, since=max(began, priority.fresh_at))
                raise
            yield reply
