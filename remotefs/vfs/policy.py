"""Which names are never uploaded, which look temporary (N6), and which a mount hides. Pure functions of names."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from remotefs.config import NamesConfig

# Enough for the names of the folders in use; only a walk asks about more.
_REMEMBERED_NAMES = 4096
# The names under which `remotefs put` writes a file before it gets its own: it has to see them, whatever is hidden.
PUT_PREFIX = "._remotefs-put-"


class NamePolicy:
    """The two lists of N6 and the names that are hidden, compiled.

    A pattern is a shell pattern on one whole name, upper and lower case apart. An entry without wildcards is a fixed
    name that Windows or macOS gives in varying case (`Thumbs.db`, `thumbs.db`), and is matched in any.
    """

    def __init__(self, config: NamesConfig) -> None:
        self._never = _matcher(config.never_uploaded)
        self._temporary = _matcher(config.temporary)
        self._hidden = _matcher(config.hidden) if config.hidden else _no_name

    def never_uploaded(self, path: str) -> bool:
        """Return whether `path`, or a folder above it, is on the list of names that stay on this machine."""
        return any(map(self._never, path.split("/")))

    def temporary(self, name: str) -> bool:
        """Return whether a file of this name is likely to be removed or renamed within seconds.

        `name` is the last component of its path.
        """
        return self._temporary(name)

    def hidden(self, name: str) -> bool:
        """Return whether a mount hides a name, and with a folder all below it."""
        return self._hidden(name) and not name.startswith(PUT_PREFIX)


def _no_name(_: str) -> bool:
    return False


def _matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    entries = frozenset(patterns)
    shapes = {entry for entry in entries if any(char in entry for char in "*?[")}
    fixed = {entry.casefold() for entry in entries - shapes}
    # Sorted, so that one configuration gives one expression. Without patterns it has to match nothing.
    shape = re.compile("|".join(map(fnmatch.translate, sorted(shapes))) or r"(?!)")

    def matches(name: str) -> bool:
        return name.casefold() in fixed or shape.match(name) is not None

    return lru_cache(_REMEMBERED_NAMES)(matches)
