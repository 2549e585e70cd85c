"""Formats files of a listing for a person, for scripts and for rsync: pure."""

from __future__ import annotations

from typing import Any

from remotefs.api.usable import Use, essence
from remotefs.cli.commands.duplicates import Copies
from remotefs.cli.commands.ls_filters import age_s, left_s
from remotefs.cli.console import human_duration, human_size, json_text
from remotefs.cli.listing import Listed
from remotefs.units import rfc3339

# The characters of an id that a mark shows: enough to tell files apart.
_MARK = 6
_WILD = "*?["
# For columns of a fixed width on a terminal, which leave the rest of 80 characters to the path.
WIDTHS = (7, 10, 13, 11, _MARK + 1)
HEADER = ("AGE", "SIZE", "TYPE", "STATE", "ID", "PATH")


def row(listed: Listed, *, soon_s: float, short: bool) -> tuple[str, ...]:
    """Return the cells of a file; `short` for a terminal, where an id is shown by its end."""
    file = listed.file
    return (age_of(listed), size_of(listed), _type(listed), state_of(listed, soon_s), _id(file.file_id, short=short),
            listed.shown)  # fmt: skip


def age_of(listed: Listed) -> str:
    """Return the age of a file in one unit."""
    return human_duration(age_s(listed))


def size_of(listed: Listed) -> str:
    """Return the size of a file in at most 10 characters."""
    return human_size(listed.file.size).replace(" bytes", " B")


def state_of(listed: Listed, soon_s: float) -> str:
    """Return what a person should know first: a failure, an expiry within `soon_s`, or that it cannot be read."""
    file, left = listed.file, left_s(listed)
    word = file.state.partition(":")[0]
    if word == "failed":
        return word
    if left is not None and left <= soon_s:
        return f"{human_duration(left)} left"
    return word if file.readable else "unreadable"


def record(listed: Listed, use: Use, *, copies: Copies | None = None) -> dict[str, Any]:
    """Return a file as JSON shows it."""
    file = listed.file
    shown = {
        "path": json_text(listed.shown),
        "id": file.file_id,
        "size": file.size,
        "mime_type": file.mime_type,
        "created_at": _moment(file.created_ns),
        "expires_at": _moment(file.expires_ns),
        "state": file.state,
        "readable": file.readable,
        "here": file.here,
        "generated": file.generated,
        "usable_as": use.kind,
        "why": use.why,
        "digest": f"xxh3-128:{file.digest}" if file.digest else None,
    }
    if copies is not None:
        shown["copies"] = len(copies.files)
        shown["known_by"] = copies.known_by[copies.files.index(listed)]
        shown["copy_of"] = json_text(copies.files[0].shown)
    return shown


def usable_row(listed: Listed, use: Use, *, short: bool) -> tuple[str, ...]:
    """Return the cells of a file of which a person asks what a model can do with it."""
    return (use.kind.value, size_of(listed), _id(listed.file.file_id, short=short), listed.shown, use.why)


def copies_rows(number: int, copies: Copies, *, short: bool) -> list[tuple[str, ...]]:
    """Return the cells of files with one content."""
    return [
        (str(number), size_of(listed), age_of(listed), known_by, _id(listed.file.file_id, short=short), listed.shown)
        for listed, known_by in zip(copies.files, copies.known_by, strict=True)
    ]


def exclude_pattern(below: str) -> str:
    """Return the pattern of `rsync --exclude-from` that means this path below the folder that is copied, and no other.

    rsync(1): a pattern that begins with `/` is anchored there; a backslash escapes where there is a wildcard.
    """
    if any(character in below for character in _WILD):
        below = "".join(f"\\{c}" if c in _WILD + "\\" else c for c in below)
    return f"/{below}"


def _type(listed: Listed) -> str:
    return essence(listed.file.mime_type or "").removeprefix("application/")


def _id(file_id: str | None, *, short: bool) -> str:
    if file_id is None:
        return ""
    return f"…{file_id[-_MARK:]}" if short else file_id


def _moment(at_ns: int | None) -> str | None:
    return None if at_ns is None else rfc3339(at_ns)
