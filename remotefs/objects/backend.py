"""What a kind of store answers, in synchronous calls that run in threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from remotefs.objects.source import Source

# The most entries in a page of a listing.
PAGE_ENTRIES = 1000
# The bytes that a stream aims at in a piece.
PIECE_BYTES = 1 << 20
# A larger body goes up in parts of this size.
PART_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """An object in a listing: its key below the prefix, its bytes, and when it was put, in ns since 1970."""

    key: str
    size: int
    modified_ns: int


class Body(Protocol):
    """The bytes of an object, piece by piece. A thread may still be in `next` when another calls `close`."""

    def next(self) -> bytes | None:
        """Return the next piece, None at the end. Raises ObjectStoreError."""
        ...

    def close(self) -> None:
        """Give up what the body holds; harmless when that is done."""
        ...


class Backend(Protocol):
    """One prefix of one store. Each call may wait for the network, and raises ObjectStoreError alone."""

    @property
    def url(self) -> str:
        """Return the address, which holds no secret."""
        ...

    def put(self, key: str, source: Source) -> None:
        """Put an object whole, over any other of that key; it survives a power cut. Raises what the source raises."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Put an object whole if the key is absent; return whether it was. It survives a power cut."""
        ...

    def get(self, key: str, start: int, length: int | None) -> bytes:
        """Return at most `length` bytes (None: all) from `start`. Raises ObjectMissing."""
        ...

    def open(self, key: str, start: int, length: int | None, piece_bytes: int = PIECE_BYTES) -> Body:
        """Return the same bytes as a body in pieces of about `piece_bytes`. Raises ObjectMissing."""
        ...

    def size_of(self, key: str) -> int | None:
        """Return the bytes of an object, None if it is absent."""
        ...

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, of which some may be absent."""
        ...

    def copy(self, source: str, target: str) -> None:
        """Put the bytes of one object under another key. Raises ObjectMissing."""
        ...

    def pages(self, prefix: str, after: str) -> Iterator[list[ObjectEntry]]:
        """Return the objects below the folder `prefix` whose keys are greater than `after`, by ascending key."""
        ...


def check_key(key: str) -> None:
    """Raise ValueError for a key that could mean another place, or that a folder keeps for itself."""
    if not key.isprintable() or any(part.startswith(".") or part == "" for part in key.split("/")):
        raise ValueError(f"{key!r} is not the key of an object")
