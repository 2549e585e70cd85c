"""A listing takes no more of the disk than it may."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from remotefs.api.budget import Priority
from remotefs.api.models import FileMetadata, Page
from remotefs.config import CacheConfig
from remotefs.data.reconcile.listing_room import ListingRoom
from remotefs.errors import OutOfSpace
from remotefs.store.disk import Disk

MIB = 1 << 20


def file(number: int) -> FileMetadata:
    return FileMetadata(id=f"file_{number}", filename=f"{number}", size_bytes=1, mime_type="text/plain", created_ns=1)


class NewFilesForEver:
    """A service whose pages bring new files, as many as anybody asks for."""

    def pages(self, *, priority: Priority, limit: int = 1000) -> AsyncIterator[Page]:
        assert priority is Priority.POLL
        self._limit = limit
        self._number = 0
        return self

    def __aiter__(self) -> AsyncIterator[Page]:
        return self

    async def __anext__(self) -> Page:
        self._number += self._limit
        return Page(tuple(map(file, range(self._number - self._limit, self._number))), f"page_{self._number}")


def disk(folder: Path, free_bytes: int) -> Disk:
    """A disk with so much room beside its reserve."""
    space = SimpleNamespace(f_frsize=1, f_blocks=1000 * MIB, f_bavail=100 * MIB + free_bytes)
    config = CacheConfig(reserve_bytes=100 * MIB, reserve_fraction=0.0)
    return Disk(folder, config, statvfs=lambda _: space)


async def listed(room: ListingRoom, most: int) -> int:
    """How many files come before the listing fails; those of `most` pages when it does not."""
    count = 0
    pages = room.pages(priority=Priority.POLL)
    with suppress(OutOfSpace):
        for _ in range(most):
            count += len((await anext(pages)).files)
    return count


@pytest.mark.parametrize("known", [0, 20_000])
async def test_on_a_full_disk_a_listing_may_bring_a_little_more_than_was_known(tmp_path: Path, known: int) -> None:
    room = ListingRoom(NewFilesForEver(), disk(tmp_path, -MIB), lambda: known)
    assert await listed(room, 100) == known + 5000


async def test_with_room_a_listing_may_be_long(tmp_path: Path) -> None:
    room = ListingRoom(NewFilesForEver(), disk(tmp_path, 100 * MIB), lambda: 0)
    assert await listed(room, 100) == 100_000


async def test_room_is_made_before_a_listing_fails(tmp_path: Path) -> None:
    tight = disk(tmp_path, 0)
    asked: list[int] = []
    tight.add_reclaimer(asked.append)
    assert await listed(ListingRoom(NewFilesForEver(), tight, lambda: 0), 10) == 5000
    assert asked == [1000 * 2048 + 6000 * 512]
