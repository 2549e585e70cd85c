"""Open files of which only the most recently used stay open: 10,000 files must not exhaust a process's descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cachetools import LRUCache

K = TypeVar("K")
V = TypeVar("V")


class OpenFiles(LRUCache[K, V]):
    """At most `maxsize` open files by key; what falls out is closed by `close_one`."""

    def __init__(self, maxsize: int, close_one: Callable[[K, V], None]) -> None:
        super().__init__(maxsize)
        self._close_one = close_one

    def popitem(self) -> tuple[K, V]:
        """Close the least recently used file and return it with its key."""
        key, file = super().popitem()
        self._close_one(key, file)
        return key, file

    def release(self, key: K) -> None:
        """Close a file, if it is open."""
        file = self.pop(key, None)
        if file is not None:
            self._close_one(key, file)

    def close(self) -> None:
        """Close all files."""
        while self:
            self.popitem()
