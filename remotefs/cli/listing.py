"""Asks running mounts for the files at and below paths, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import msgspec

from remotefs.control.client import ControlClient
from remotefs.control.find import FoundMount
from remotefs.control.messages.ls import LS, ListedFile, LsParams

# A mount answers a page from memory, unless the machine is very busy.
PAGE_TIMEOUT_S = 60.0
# The paths of one request as JSON, in bytes; with the place where a page ended they stay within `MAX_REQUEST_BYTES`.
_BYTES_A_REQUEST = 32 * 1024


@dataclass(frozen=True)
class Place:
    """A path as the caller wrote it, and where it lies."""

    shown: str
    found: FoundMount


@dataclass(frozen=True)
class Listed:
    """A file of a mount, at or below a place; `now_ns` is the time of the service in ns."""

    file: ListedFile
    place: Place
    now_ns: int

    @property
    def shown(self) -> str:
        """Return the path of the file as the caller would write it."""
        if not self.file.below:
            return self.place.shown
        return self.file.below if self.place.shown == "" else f"{self.place.shown.rstrip('/')}/{self.file.below}"

    @property
    def below(self) -> str:
        """Return the path relative to the folder that the caller named; of a file that the caller named its name."""
        return self.file.below or self.file.path.rpartition("/")[2]


def places_of(paths: Sequence[Path], founds: Sequence[FoundMount]) -> list[Place]:
    """Return the places of paths that were found."""
    return [Place(str(path), found) for path, found in zip(paths, founds, strict=True)]


def file_place(listed: Listed) -> Place:
    """Return the place of a file itself."""
    found = listed.place.found
    return Place(listed.shown, FoundMount(found.mountpoint, found.control, listed.file.path))


def listed_below(places: Sequence[Place], *, skip_missing: bool = False) -> Iterator[Listed]:
    """Yield the files at and below each place in turn, in the order of their paths.

    Raises NotFound for a place that is not there unless `skip_missing`, InvalidArgument for one that is neither a file
    nor a folder, and as `ControlClient.call` does.
    """
    for some in requests_of(places):
        yield from _listed(some, skip_missing=skip_missing)


def requests_of(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Divide places into lists that one request can name: each of one mount, and of a bounded length."""
    for _, group in groupby(places, key=lambda place: place.found.control):
        some: list[Place] = []
        length = 0
        for place in group:
            size = len(msgspec.json.encode(place.found.path)) + 1
            if some and length + size > _BYTES_A_REQUEST:
                yield some
                some, length = [], 0
            some.append(place)
            length += size
        yield some


def _listed(places: Sequence[Place], *, skip_missing: bool) -> Iterator[Listed]:
    control: ControlClient = places[0].found.control
    paths = tuple(place.found.path for place in places)
    params: LsParams | None = LsParams(paths=paths, skip_missing=skip_missing)
    while params is not None:
        page = control.call(LS, params, timeout_s=PAGE_TIMEOUT_S)
        for file in page.files:
            yield Listed(file, places[file.place], page.now_ns)
        more = page.place is not None
        params = msgspec.structs.replace(params, place=page.place, after=page.after) if more else None
