"""A walk over all pages of the listing that ends even when a server or a proxy repeats pages for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from hashlib import blake2b

from remotefs.api.models import Page
from remotefs.errors import ReplyBroken

# The service may filter a page until it is empty, and a file that moves between two pages may be listed twice. A longer
# run of pages without a new file is a loop with new cursors.
_MOST_FRUITLESS_PAGES = 3
_CURSOR_SUM_BYTES = 16


class WalkGuard:
    """Checks the pages of one walk, in order; pure. Raises ReplyBroken for a page that cannot follow the others.

    A walk whose pages bring new files for ever looks like a large account: the room on the disk bounds it
    (data/reconcile/listing_room.py).
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        # Sums, because a cursor may be 2,000 bytes long, and each page has one.
        self._cursors: set[bytes] = set()
        self._last_ids: tuple[str, ...] = ()
        self._fruitless_pages = 0

    def check(self, page: Page) -> None:
        """Check the next page of the walk. Raises ReplyBroken when it repeats a page or a cursor."""
        ids = page.ids
        if ids and ids == self._last_ids:
            raise ReplyBroken("the listing repeats a page, so it would never end")
        self._last_ids = ids
        if page.next_cursor is None:
            return
        self._fruitless_pages = self._fruitless_pages + 1 if self._ids.issuperset(ids) else 0
        self._ids.update(ids)
        if self._fruitless_pages > _MOST_FRUITLESS_PAGES:
            raise ReplyBroken("the listing repeats its files, so it would never end")
        cursor = blake2b(page.next_cursor.encode(), digest_size=_CURSOR_SUM_BYTES).digest()
        if cursor in self._cursors:
            raise ReplyBroken("the listing repeats its cursors, so it would never end")
        self._cursors.add(cursor)


class Walk:
    """A walk over the pages of a listing; iterate it once. Not a generator: it needs no closing when left half way."""

    def __init__(self, list_page: Callable[[str | None], Awaitable[Page]]) -> None:
        self._list_page = list_page
        self._guard = WalkGuard()
        self._cursor: str | None = None
        self._ended = False

    def __aiter__(self) -> Walk:
        return self

    async def __anext__(self) -> Page:
        if self._ended:
            raise StopAsyncIteration
        page = await self._list_page(self._cursor)
        self._guard.check(page)
        self._cursor = page.next_cursor
        self._ended = page.next_cursor is None
        return page
