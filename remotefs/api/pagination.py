"""A walk over all pages of the listing that ends even when a server or a proxy repeats pages for ever."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from remotefs.api.models import Page
from remotefs.errors import ReplyBroken

# The service may filter a page until it is empty. A longer run of empty pages is a loop with new cursors.
_MOST_EMPTY_PAGES = 3


class WalkGuard:
    """Checks the pages of one walk, in order; pure. Raises ReplyBroken for a page that cannot follow the others."""

    def __init__(self) -> None:
        self._cursors: set[str] = set()
        self._last_ids: tuple[str, ...] = ()
        self._empty_pages = 0

    def check(self, page: Page) -> None:
        """Check the next page of the walk. Raises ReplyBroken when it repeats a page or a cursor."""
        ids = page.ids
        if ids and ids == self._last_ids:
            raise ReplyBroken("the listing repeats a page, so it would never end")
        self._last_ids = ids
        if page.next_cursor is None:
            return
        self._empty_pages = 0 if ids else self._empty_pages + 1
        if page.next_cursor in self._cursors or self._empty_pages > _MOST_EMPTY_PAGES:
            raise ReplyBroken("the listing repeats its cursors, so it would never end")
        self._cursors.add(page.next_cursor)


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
