"""The parser of the Range header (RFC 9110, section 14). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(r"bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*\Z", re.ASCII | re.IGNORECASE)
# More digits than any length has.
_MAX_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Slice:
    """`length` bytes from `start` of a file of `total` bytes; `partial`: the reply's status is 206."""

    start: int
    length: int
    total: int
    partial: bool

    @property
    def content_range(self) -> str:
        """Return the value of the Content-Range header."""
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.total}"


def requested_slice(header: str | None, if_range: str | None, etag: str, total: int) -> Slice | None:
    """Return the slice to answer with, or None if the range lies outside of the file (416).

    Several ranges, other units and malformed headers get the whole file, and so does an If-Range of another ETag.
    """
    whole = Slice(0, total, total, partial=False)
    match = _SINGLE.match(header or "")
    if match is None or (if_range is not None and if_range != etag):
        return whole
    first, last = match[1], match[2]
    if max(len(first), len(last)) > _MAX_DIGITS or not (first or last):
        return whole
    if not first:
        return _suffix(int(last), total)
    if last and int(last) < int(first):
        return whole
    start, end = int(first), min(int(last) if last else total - 1, total - 1)
    return Slice(start, end - start + 1, total, partial=True) if start < total else None


def _suffix(length: int, total: int) -> Slice | None:
    kept = min(length, total)
    return Slice(total - kept, kept, total, partial=True) if kept else None
