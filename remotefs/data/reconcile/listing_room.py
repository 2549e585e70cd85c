"""The bound for a listing that never ends: it fails when the disk has no more room for the rows of its files.

Pages that bring new files for ever cannot be told from a large account. The rows of a listing therefore leave the
reserve of the disk to what needs it (A8), as the bytes of files do. A failed listing removes nothing (S4).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from remotefs.api.budget import Priority
from remotefs.api.models import Page
from remotefs.api.protocols import PageLister
from remotefs.errors import OutOfSpace
from remotefs.store.disk import Disk

# What the rows of a new file take, generously: in the log of the database (measured: 870), and in the database itself
# (310), which gets them later, when the log is copied.
_LOGGED_BYTES = 2048
_KEPT_BYTES = 512
# New files that are taken in without a look at the disk: some 6 MB, which the reserve has. So a full disk does not keep
# from view what was added elsewhere.
_FREE_ROWS = 5000


class ListingRoom:
    """Lists as `lister` does while there is room for the rows. `known_count` returns the number of known files."""

    def __init__(self, lister: PageLister, disk: Disk, known_count: Callable[[], int]) -> None:
        self._lister = lister
        self._disk = disk
        self._known_count = known_count

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        """Yield the pages of the whole listing, newest file first. Raises OutOfSpace, and what the lister raises."""
        pages = self._lister.pages(priority=priority, limit=limit)
        return _Roomy(pages, self._disk, self._known_count() + _FREE_ROWS)


class _Roomy:
    """A listing that may have `free` files before each page needs room. Not a generator: it needs no closing."""

    def __init__(self, pages: AsyncIterator[Page], disk: Disk, free: int) -> None:
        self._pages = pages
        self._disk = disk
        self._free = free
        self._listed = 0

    def __aiter__(self) -> _Roomy:
        return self

    async def __anext__(self) -> Page:
        page = await anext(self._pages)
        self._listed += len(page.files)
        if self._listed > self._free:
            self._require(len(page.files) * _LOGGED_BYTES + self._listed * _KEPT_BYTES)
        return page

    def _require(self, size_bytes: int) -> None:
        try:
            self._disk.require(size_bytes)
        except OutOfSpace as error:
            raise OutOfSpace(f"the listing has {self._listed:,} files so far and no room for more: {error}") from error
