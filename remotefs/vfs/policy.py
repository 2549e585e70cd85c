"""Which names are never uploaded and which are of temporary shape (N6). Pure: names in, answers out."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from remotefs.config import NamesConfig

# Names asked about again and again are those of the folders in use; more than this is a walk.
_REMEMBERED_NAMES = 4096


class NamePolicy:
    """The two lists of N6, compiled.

    A pattern is a shell pattern on one whole name, upper and lower case apart. An entry without wildcards is a fixed
    name that Windows or macOS gives in varying case (`Thumbs.db`, `thumbs.db`), and is matched in any.
    """

    def __init__(self, config: NamesConfig) -> None:
        self._never = _matcher(config.never_uploaded)
        self._temporary = _matcher(config.temporary)

    def never_uploaded(self, path: str) -> bool:
        """Whether `path`, or a folder that it lies in, is on the list of what stays on this machine."""
        return any(map(self._never, path.split("/")))

    def temporary(self, name: str) -> bool:
        """Whether a file of this name, the last component of its path, is likely to go or be renamed within seconds."""
        return self._temporary(name)


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    entries = frozenset(patterns)
    shapes = {entry for entry in entries if any(char in entry for char in "*?[")}
    fixed = {entry.casefold() for entry in entries - shapes}
    # Sorted, so that one configuration is one expression; without shapes it must match nothing, not everything.
    shape = re.compile("|".join(map(fnmatch.translate, sorted(shapes))) or r"(?!)")

    def matches(name: str) -> bool:
        return name.casefold() in fixed or shape.match(name) is not None

    return lru_cache(_REMEMBERED_NAMES)(matches)
