"""Chunks in memory."""

from __future__ import annotations

from remotefs.data.download.memory_cache import ChunkMemory


def test_the_least_recently_used_goes_first() -> None:
    memory = ChunkMemory(30)
    memory.put("a", 0, b"x" * 10)
    memory.put("a", 1, b"y" * 10)
    memory.put("b", 0, b"z" * 10)
    assert memory.get("a", 0) == b"x" * 10
    memory.put("b", 1, b"w" * 10)
    assert memory.get("a", 1) is None
    assert memory.get("a", 0) == b"x" * 10
    assert memory.statistics().size_bytes == 30


def test_a_file_is_dropped_whole() -> None:
    memory = ChunkMemory(100)
    memory.put("a", 0, b"x")
    memory.put("a", 7, b"y")
    memory.put("b", 0, b"z")
    memory.drop("a")
    assert (memory.get("a", 0), memory.get("a", 7), memory.get("b", 0)) == (None, None, b"z")


def test_a_chunk_larger_than_the_memory_is_not_kept() -> None:
    memory = ChunkMemory(10)
    memory.put("a", 0, b"x" * 11)
    assert memory.get("a", 0) is None
    assert memory.statistics().chunks == 0
