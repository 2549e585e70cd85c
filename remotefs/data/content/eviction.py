"""Eviction: cached content goes, the least recently used first, when it exceeds its limit or the disk gets short.

Pinned content is never a candidate. Content in use stays too: a file with it is open (R4), or a caller holds it while
it works with its bytes. So does content of an upload until a listing shows it: that the service gives it back is said
by one reply alone, and if the reply is wrong, these are the only bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from remotefs.config import CacheConfig
from remotefs.data.content.folder import ContentFolder
from remotefs.errors import OutOfSpace
from remotefs.store.disk import Disk

# An eviction frees more than was asked for: the smaller of the two, the second a part of the limit. So that not every
# chunk evicts.
_SLACK_BYTES = 16 * 1024 * 1024
_SLACK_FRACTION = 1 / 16


class InUse:
    """A container of the ids that are in use. `is_open` says of an id whether a file with that content is open (R4)."""

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        self._is_open = is_open
        self._held: Counter[str] = Counter()
        # Ids that were uploaded and not listed since.
        self.unlisted: set[str] = set()

    def __contains__(self, file_id: object) -> bool:
        if not isinstance(file_id, str):
            return False
        return file_id in self._held or file_id in self.unlisted or self._is_open(file_id)

    @contextmanager
    def hold(self, file_id: str) -> Iterator[None]:
        """Keep content from being evicted while the block lasts."""
        self._held[file_id] += 1
        try:
            yield
        finally:
            self._held[file_id] -= 1
            if not self._held[file_id]:
                del self._held[file_id]


class Eviction:
    """Keeps cached content below `limit_bytes`, and gives it up where `disk` is short of room."""

    def __init__(self, folder: ContentFolder, config: CacheConfig, disk: Disk, is_open: Callable[[str], bool]) -> None:
        self._folder = folder
        self._index = folder.index
        self._disk = disk
        self.in_use = InUse(is_open)
        default = int(config.evictable_fraction * disk.capacity)
        self.limit_bytes = default if config.evictable_bytes is None else config.evictable_bytes
        disk.add_reclaimer(self.reclaim)

    def make_room(self, size: int) -> None:
        """Make sure that `size` bytes of cached content can be written. Raises OutOfSpace."""
        excess = self._index.evictable_bytes + size - self.limit_bytes
        if excess > 0:
            self.reclaim(excess)
        if self._index.evictable_bytes + size > self.limit_bytes:
            raise OutOfSpace(f"{self._folder.path}: the {self.limit_bytes >> 20} MiB for cached content are all in use")
        self._disk.require(size)

    def reclaim(self, size: int) -> None:
        """Evict content until about `size` bytes and some slack are free; fewer where the rest is in use."""
        slack = min(_SLACK_BYTES, int(self.limit_bytes * _SLACK_FRACTION))
        self.trim(max(self._index.evictable_bytes - size - slack, 0))

    def trim(self, to_bytes: int) -> tuple[int, int]:
        """Evict content until at most `to_bytes` of cached content are left, or all that is left is in use.

        Return how many files and bytes went.
        """
        files, before = 0, self._index.evictable_bytes
        while self._index.evictable_bytes > to_bytes and (victim := self._index.next_victim(self.in_use)):
            self._folder.remove(victim)
            files += 1
        return files, before - self._index.evictable_bytes
