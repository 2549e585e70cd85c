"""Where content comes from that is not on this disk: tiers, the last of which is the service.

A source that is nearer, such as a cache that several machines share, wraps the next one: it answers from what it holds,
asks the next for the rest, and keeps of the replies that pass through it what it likes. It need not be asked whether
content is still right, for that of an id never changes. Whatever it hands out is held to the listed length by the
transfer, and is checked against its own sums once it is on this disk; the bytes are the source's to answer for.
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
        """Where it starts, at or before what was asked for."""
        ...

    @property
    def total_bytes(self) -> int | None:
        """The length of the whole file, None where the reply does not tell."""
        ...

    @property
    def ranges(self) -> bool | None:
        """Whether it shows that ranges are honoured; None where it does not tell."""
        ...

    def expect(self, size: int) -> None:
        """The next piece need not come before it has so many bytes, if they come soon."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...


class ContentSource(Protocol):
    """A place to get content from. The API client is one."""

    def download(
        self, file_id: str, *, offset: int = 0, length: int | None = None, priority: Ticket
    ) -> AbstractAsyncContextManager[ContentStream]:
        """The content from `offset`, `length` bytes of it, as a hint; raises RefusedError, TransportError."""
        ...


class ServiceSource:
    """The last source: the service, and what its downloads tell about the way to it."""

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
