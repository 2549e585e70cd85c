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
    """An entry that lacks what a file needs: `reason` says what.

    The other fields are as in FileMetadata; None, or UNKNOWN_NS, stands for what cannot be read.
    """

    id: str | None
    reason: str
    filename: str | None = None
    size_bytes: int | None = None
    created_ns: int = UNKNOWN_NS


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
    if not isinstance(entry, dict):
        return Unusable(None, "it has no id that can be read")
    file_id, filename, size = entry.get("id"), _name(entry.get("filename")), _size(entry.get("size_bytes"))
    created_ns = _time_ns(entry.get("created_at")) or UNKNOWN_NS
    if not _is_id(file_id):
        return Unusable(None, "it has no id that can be read", filename, size, created_ns)
    if filename is None:
        return Unusable(file_id, "it has no filename", None, size, created_ns)
    if size is None:
        return Unusable(file_id, "it has no size", filename, None, created_ns)
    return FileMetadata(
        id=file_id,
        filename=filename,
        size_bytes=size,
        mime_type=_type(entry.get("mime_type")),
        created_ns=created_ns,
        downloadable=entry.get("downloadable") is True,
        expires_ns=_time_ns(entry.get("expires_at")),
    )


def told_by(file: FileMetadata) -> Unusable | None:
    """Return what an entry tells whose name or size was changed to be used here; None if none was."""
    has_name = len(file.filename) < MOST_NAME and "\ufffd" not in file.filename
    has_size = file.size_bytes < bounds.MOST_FILE_BYTES
    if has_name and has_size:
        return None
    name, size = file.filename if has_name else None, file.size_bytes if has_size else None
    return Unusable(file.id, "its name or its size cannot be", name, size, file.created_ns)


def _figure(digits: str) -> int:
    return int(digits[:_MOST_DIGITS])


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and re.match(ID, value) is not None


def _name(value: object) -> str | None:
    return _text(value) if isinstance(value, str) and value else None


def _size(value: object) -> int | None:
    is_size = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return bounds.file_bytes(value) if is_size and isinstance(value, int) else None


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
