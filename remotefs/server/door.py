"""The connections that may stay while nobody knows yet who is behind them. Pure.

    enter ─► stranger ──served──► guest at work ──waits──► guest between two requests
               │ ▲                                            │
               └─┴──────── overdue, or in the way: closed ◄───┘

A *guest* has shown the key, a *stranger* has not. Everybody may connect, so the strangers share what is left of the
connections: when all are taken, the one that waited longest makes room for a new one. A connection whose request is
being answered with the key is never closed here.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from itertools import chain, takewhile
from typing import Generic, TypeVar

V = TypeVar("V", bound=Hashable)


class Door(Generic[V]):
    """Counts connections and says which of them have to be closed. Times are in seconds of a monotonic clock."""

    def __init__(self, most: int, head_s: float) -> None:
        self._most = most
        self._head_s = head_s
        # Invariant: each open connection is in one of the three; the first two have the longest waiting first.
        self._strangers: dict[V, float] = {}
        self._idle_guests: dict[V, float] = {}
        self._at_work: set[V] = set()

    def enter(self, visitor: V, now: float) -> V | None:
        """Note a new connection and return the one to close for it, None while there is room.

        It is the new one itself if all others are at work.
        """
        oldest = next(chain(self._strangers, self._idle_guests), visitor)
        self._strangers[visitor] = now
        return oldest if len(self._strangers) + len(self._idle_guests) + len(self._at_work) > self._most else None

    def serve(self, visitor: V) -> None:
        """Note that a request with the key is being answered."""
        self._forget(visitor)
        self._at_work.add(visitor)

    def wait(self, visitor: V, now: float) -> None:
        """Note that the request of a connection was answered. What comes next on it has to come in time."""
        known = visitor in self._at_work or visitor in self._idle_guests
        self._forget(visitor)
        (self._idle_guests if known else self._strangers)[visitor] = now

    def leave(self, visitor: V) -> None:
        """Forget a connection that was closed."""
        self._forget(visitor)

    def overdue(self, now: float) -> list[V]:
        """Return the connections that have sent no whole request, or none with the key, for longer than they may."""
        return [*self._late(self._strangers, now), *self._late(self._idle_guests, now)]

    def _late(self, since: dict[V, float], now: float) -> Iterator[V]:
        return takewhile(lambda visitor: now - since[visitor] > self._head_s, since)

    def _forget(self, visitor: V) -> None:
        self._strangers.pop(visitor, None)
        self._idle_guests.pop(visitor, None)
        self._at_work.discard(visitor)
