"""The entries of a listing one by one, read leniently: what is decoration, however odd, keeps no entry from being read.

An entry needs its id, its filename and its size. Anything else that is odd gets a safe value: a type that says nothing,
no expiry, a time that is not known, no download. `models` reads a reply strictly, and comes here only when that fails.
"""

from __future__ import annotations

import json
import re
from typing import TypeGuard

import msgspec

from remotefs.api import bounds

ID = r"\A[A-Za-z0-9_-]{1,200}\Z"
PLAIN_TEXT = r"\A[^\x00-\x1f\x7f]+\Z"
# The lengths of the vendor's schema, in characters.
MOST_NAME = 500
MOST_TYPE = 255
# The type of bytes that nothing is known of.
UNKNOWN_TYPE = "application/octet-stream"
# `created_ns` of a file that does not say when it was created: older than all others.
UNKNOWN_NS = 0
# A full page has some twenty thousand values; a filename of commas looks like five hundred. More would fill the memory.
_MOST_VALUES = 1_000_000
# A figure with more digits is beyond all bounds; Python refuses to read one of thousands.
_MOST_DIGITS = 31


class FileMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The metadata of one remote file.

    Times are unix nanoseconds, UTC, by the server's clock, exact to the microsecond; they and the size are within
    `bounds`. `created_ns` is UNKNOWN_NS when the service does not tell it. `expires_ns` is None when the file never
    expires, and when the service does not say, as in the beta shape.
    """

    id: str
    filename: str
    size_bytes: int
    mime_type: str
    created_ns: int
    downloadable: bool = False
    expires_ns: int | None = None


class Unusable(msgspec.Struct, frozen=True):
    """An entry that lacks what a file needs: `reason` says what; `id` is None where even that cannot be read."""

    id: str | None
    reason: str


def parse(body: bytes) -> object:
    """Return the value of a JSON body; what is not Unicode in it becomes U+FFFD.

    Raises ValueError for another body, and for one with more values than any page has; RecursionError for one that is
    nested too deeply.
    """
    if sum(body.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise ValueError("it has more values than any listing")
    return json.loads(body.decode("utf-8", "replace"), parse_int=_figure)


def read_entry(entry: object) -> FileMetadata | Unusable:
    """Return the file of an entry of any shape."""
    if not isinstance(entry, dict) or not _is_id(file_id := entry.get("id")):
        return Unusable(None, "it has no id that can be read")
    filename, size = entry.get("filename"), entry.get("size_bytes")
    if not isinstance(filename, str) or not filename:
        return Unusable(file_id, "it has no filename")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return Unusable(file_id, "it has no size")
    return FileMetadata(
        id=file_id,
        filename=_text(filename),
        size_bytes=bounds.file_bytes(size),
        mime_type=_type(entry.get("mime_type")),
        created_ns=_time_ns(entry.get("created_at")) or UNKNOWN_NS,
        downloadable=entry.get("downloadable") is True,
        expires_ns=_time_ns(entry.get("expires_at")),
    )


def _figure(digits: str) -> int:
    return int(digits[:_MOST_DIGITS])


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.match(ID, value) is not None


def _text(filename: str) -> str:
    """Return a filename as text that UTF-8 can carry, cut to the longest of the schema: it is shown by its id (N4)."""
    return filename[:MOST_NAME].encode("utf-8", "replace").decode()


def _type(value: object) -> str:
    usable = isinstance(value, str) and len(value) <= MOST_TYPE and re.match(PLAIN_TEXT, value)
    return _text(value) if usable and isinstance(value, str) else UNKNOWN_TYPE


def _time_ns(value: object) -> int | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return bounds.time_ns(value)
    except (ValueError, OverflowError):
        return None
