"""Which content must not be evicted now: what somebody works with, and what is open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Holds:
    """A container of ids. `is_open` tells of an id whether a file with that content is open (R4)."""

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        self._is_open = is_open
        self._held: Counter[str] = Counter()

    def __contains__(self, file_id: object) -> bool:
        return isinstance(file_id, str) and (file_id in self._held or self._is_open(file_id))

    @contextmanager
    def hold(self, file_id: str) -> Iterator[None]:
        """Keep content from being evicted while it is in use."""
        self._held[file_id] += 1
        try:
            yield
        finally:
            self._held[file_id] -= 1
            if not self._held[file_id]:
                del self._held[file_id]
