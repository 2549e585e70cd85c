"""Uploads under way, by inode, and the right moment to cut one (W4, W9).

Until its last byte was sent an upload can be cut and has no effect; after that its reply is awaited, for the service
has the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Flight:
    """One upload under way."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.scope = trio.CancelScope()
        self.all_sent = False

    def mark_all_sent(self) -> None:
        """The last byte went out."""
        self.all_sent = True


class Flights:
    """At most one upload an inode."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}

    @contextmanager
    def fly(self, ino: int, generation: int) -> Iterator[Flight]:
        """Register an upload for as long as it takes; when it is cut, the block ends with `scope.cancelled_caught`."""
        assert ino not in self._flights, "one upload an inode at a time"
        flight = self._flights[ino] = Flight(generation)
        try:
            with flight.scope:
                yield flight
        finally:
            del self._flights[ino]

    def cut(self, ino: int) -> None:
        """What is being sent is no longer wanted."""
        flight = self._flights.get(ino)
        if flight is not None and not flight.all_sent:
            flight.scope.cancel()

    def __contains__(self, ino: int) -> bool:
        return ino in self._flights

    def __len__(self) -> int:
        return len(self._flights)
