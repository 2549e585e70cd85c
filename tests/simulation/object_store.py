"""The store that the machines of a life share: objects in memory, and the trouble that the life makes.

Each machine has a view of its own, so that one may be cut off. A call is carried out in one piece, as the work of a thread
is; trouble comes before it or after it, when the reply is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from remotefs.errors import ObjectMissing, ObjectStoreDenied, ObjectStoreUnreachable, ObjectStoreUnusable
from remotefs.objects.backend import ObjectEntry, check_key
from remotefs.objects.failures import missing
from remotefs.objects.source import Source

URL = "s3://bucket/life"
_NS = 1_000_000_000


@dataclass
class Objects:
    """The objects by key, with the time in which each came to be (s since the epoch), and the trouble of now."""

    clock: Callable[[], float]
    tell: Callable[[str], None]
    kept: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    # Machines that do not reach it, and those that may only read.
    away: set[int] = field(default_factory=set)
    readers: set[int] = field(default_factory=set)
    # Everybody is shown an empty bucket: another one, or none.
    is_another: bool = False
    # So many of the next replies are lost, or have a bit that is wrong.
    lost: int = 0
    flipped: int = 0
    # Listings show what is at least as old, in seconds.
    lag_s: float = 0.0

    def end_trouble(self) -> None:
        """Let everything be as it should."""
        self.away.clear()
        self.readers.clear()
        self.is_another, self.lost, self.flipped, self.lag_s = False, 0, 0, 0.0


class View:
    """The store as one machine sees it; see Backend."""

    url = URL

    def __init__(self, objects: Objects, machine: int) -> None:
        self._objects = objects
        self._machine = machine

    def put(self, key: str, source: Source) -> None:
        """Put an object whole. Raises what the source raises."""
        self._asked(f"PUT {key}", key, changes=True)
        self._objects.kept[key] = b"".join(source), self._objects.clock()
        self._replied()

    def create(self, key: str, data: bytes) -> bool:
        """Put an object if the key is absent; return whether it was."""
        self._asked(f"CREATE {key}", key, changes=True)
        is_new = key not in self._objects.kept
        if is_new:
            self._objects.kept[key] = data, self._objects.clock()
        self._replied()
        return is_new

    def get(self, key: str, start: int, length: int | None) -> bytes:
        """Return bytes. Raises ObjectMissing."""
        data = self._found(key)[start:] if length is None else self._found(key)[start : start + length]
        self._replied()
        if self._objects.flipped and data:
            self._objects.flipped -= 1
            self._objects.tell(f"the store's reply about {key[-20:]} has a wrong bit")
            at = len(data) // 2
            return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return data

    def open(self, key: str, start: int, length: int | None, piece_bytes: int = 0) -> Body:
        """Return the same bytes as a body, in one piece. Raises ObjectMissing."""
        return Body(self.get(key, start, length))

    def size_of(self, key: str) -> int | None:
        """Return the bytes of an object, None if it is absent."""
        try:
            size = len(self._found(key))
        except ObjectMissing:
            return None
        self._replied()
        return size

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects, of which some may be absent."""
        for key in keys:
            self._asked(f"DELETE {key}", key, changes=True)
            self._objects.kept.pop(key, None)
        self._replied()

    def copy(self, source: str, target: str) -> None:
        """Put the bytes of one object under another key. Raises ObjectMissing."""
        data = self._found(source)
        self._asked(f"COPY {target}", target, changes=True)
        self._objects.kept[target] = data, self._objects.clock()
        self._replied()

    def pages(self, prefix: str, after: str) -> Iterator[list[ObjectEntry]]:
        """Return the objects below a folder by ascending key, as late as the life wants."""
        self._asked(f"LIST {prefix}", "")
        until_s = self._objects.clock() - self._objects.lag_s
        begins = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        shown = [] if self._objects.is_another else sorted(self._objects.kept.items())
        page = [
            ObjectEntry(key, len(data), int(came_s * _NS))
            for key, (data, came_s) in shown
            if key.startswith(begins) and key > after and came_s <= until_s
        ]
        self._replied()
        if page:
            yield page

    def _found(self, key: str) -> bytes:
        self._asked(f"GET {key}", key)
        if self._objects.is_another or key not in self._objects.kept:
            raise missing(f"{URL}/{key}")
        return self._objects.kept[key][0]

    def _asked(self, what: str, key: str, *, changes: bool = False) -> None:
        if key:
            check_key(key)
        machine, objects = self._machine, self._objects
        if machine in objects.away:
            raise ObjectStoreUnreachable(f"{URL}: the shared store does not answer (away)")
        if changes and objects.is_another:
            raise ObjectStoreUnusable(f"{URL}: there is no such bucket")
        if changes and machine in objects.readers:
            raise ObjectStoreDenied(f"{URL}: the shared store refuses access (403)")
        if changes:
            objects.tell(f"machine {machine} {what[:70]}")

    def _replied(self) -> None:
        if self._objects.lost:
            self._objects.lost -= 1
            self._objects.tell("the store's reply is lost")
            raise ObjectStoreUnreachable(f"{URL}: the shared store does not answer (reply lost)")


class Body:
    """The bytes of an object in pieces."""

    _PIECE_BYTES = 4096

    def __init__(self, data: bytes) -> None:
        self._data = data

    def next(self) -> bytes | None:
        """Return the next piece, None at the end."""
        piece, self._data = self._data[: self._PIECE_BYTES], self._data[self._PIECE_BYTES :]
        return piece or None

    def close(self) -> None:
        """Give up the rest."""
        self._data = b""
