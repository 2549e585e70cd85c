"""Where the files of a transfer go: pure.

As cp(1) decides, but for a folder: it goes into the destination whether that is there or not. So a second run goes to
the same place, and finds what the first one did.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from remotefs.errors import InvalidArgument, UsageError

T = TypeVar("T")


class Destination(NamedTuple):
    """A destination as it was written: its path in the tree (`""`: the root), and whether it has to be a folder."""

    path: str
    is_folder: bool


def tree_path(text: str) -> Destination:
    """Return a destination that is written as a path of the tree. Raises UsageError."""
    if text.startswith("/"):
        raise UsageError(
            f"{text} is not in a remotefs mount; without a mount give a path of the tree, such as docs/2026"
        )
    path = posixpath.normpath(text) if text else "."
    if path == ".." or path.startswith("../"):
        raise UsageError(f"{text} leads out of the tree")
    return Destination("" if path == "." else path, path == "." or text.endswith("/"))


def put_paths(names: Sequence[str], destination: Destination, *, goes_into: bool) -> list[str]:
    """Return the path in the tree of each source; an empty name stands for the contents of a folder.

    A single file may be given another name, unless it `goes_into` the destination. Several go into a folder.
    """
    into = destination.is_folder or goes_into or len(names) > 1
    return [_join(destination.path, name) if into else destination.path for name in names]


def check_place(place: Iterable[str]) -> None:
    """Raise InvalidArgument where names would lead out of the folder below which they are to be made (N4).

    No name of the tree does; the look is here because all that follows relies on it.
    """
    if any(name in {"", ".", ".."} or "/" in name or "\0" in name for name in place):
        raise InvalidArgument("its path cannot be made on this machine")


def repeated(items: Iterable[tuple[T, str]]) -> set[str]:
    """Return the places that more than one of (item, place) would take."""
    seen: set[str] = set()
    again: set[str] = set()
    for _, place in items:
        (again if place in seen else seen).add(place)
    return again


def parents(path: str) -> list[str]:
    """Return the folders above a path of the tree, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder and name else folder or name
