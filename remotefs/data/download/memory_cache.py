"""Chunks that cannot go to the disk, kept in memory for a while, so that reading goes on when the disk is full (A8)."""

from __future__ import annotations

from dataclasses import dataclass

from cachetools import LRUCache


@dataclass(frozen=True)
class MemoryStatistics:
    """The use of the memory."""

    chunks: int
    size_bytes: int
    limit_bytes: int


class ChunkMemory:
    """Whole chunks by file id and index; the least recently used go first, at most `limit_bytes` stay."""

    def __init__(self, limit_bytes: int) -> None:
        self._chunks: LRUCache[tuple[str, int], bytes] = LRUCache(maxsize=limit_bytes, getsizeof=len)

    def get(self, file_id: str, index: int) -> bytes | None:
        """Return a chunk, or None if it is not here any more."""
        return self._chunks.get((file_id, index))

    def put(self, file_id: str, index: int, data: bytes) -> None:
        """Keep a chunk, unless it is larger than the whole memory."""
        if len(data) <= self._chunks.maxsize:
            self._chunks[file_id, index] = data

    def drop(self, file_id: str) -> None:
        """Drop all chunks of a file."""
        for key in [key for key in self._chunks if key[0] == file_id]:
            del self._chunks[key]

    def statistics(self) -> MemoryStatistics:
        """Return the figures of now."""
        return MemoryStatistics(len(self._chunks), int(self._chunks.currsize), int(self._chunks.maxsize))
