"""The cheapest way through the log of a machine: which snapshots to read instead of segments. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from remotefs.data.share.segments import MOST_SEQUENCE, Name

# A request takes as long as so many bytes more of an object.
_REQUEST_BYTES = 32 << 10


def snapshots_to_read(position: int, listed: Iterable[tuple[Name, int]]) -> list[int]:
    """Return the numbers of the snapshots to try, the best first, for a reader that needs the segment `position` next.

    `listed` has the objects of the log from there on, each with its bytes. The newest snapshot is the best. One that
    costs more than the segments that it stands for is left out, unless some of these are gone.
    """
    segments: dict[int, int] = {}
    snapshots: dict[int, int] = {}
    complete: set[int] = set()
    for name, size in listed:
        costs = segments if name.part is None else snapshots
        costs[name.sequence] = costs.get(name.sequence, 0) + size + _REQUEST_BYTES
        if name.part == 0:
            complete.add(name.sequence)
    found: list[int] = []
    needed, at = 0, position
    for sequence in sorted(number for number in complete if position <= number < MOST_SEQUENCE):
        while at <= sequence and at in segments:
            needed, at = needed + segments[at], at + 1
        if at <= sequence or snapshots[sequence] < needed:
            found.append(sequence)
    return found[::-1]


def is_beyond(position: int, listed: Iterable[tuple[Name, int]]) -> bool:
    """Return whether a log goes on although its segment `position` is not in it."""
    numbers = {name.sequence for name, _ in listed if name.part is None}
    return position not in numbers and any(number > position for number in numbers)
