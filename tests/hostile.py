"""What a service, a gateway or a proxy may say in the place of a number, a time or a header, and must break nothing.

One table for all decoders: a test that reads a new field or a new header feeds it from here.
"""

from __future__ import annotations

import json
from typing import Any

# Literals of JSON, for some are no Python value.
NUMBERS = (
    "0", "-0", "-1", "5.5", "1e3", "1e300", "-1e300", "1e999", "99999999999", "253402300800",
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" + "0" * 30,
    "9" * 5000, "NaN", "Infinity", "true", "null", '"5"', '"99999999999"', '""', "[]", "{}",
)  # fmt: skip
TIMES = (
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z",
    "2026-06-30T23:59:60Z", "2026-01-02T03:04:05.123456789123Z", "2026-01-02t03:04:05z", "2026-01-02 03:04:05Z",
    "2200-01-01T00:00:00Z", "2262-04-11T23:47:16.854775807Z", "2262-04-12T00:00:00Z", "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z", "99999-12-31T23:59:59Z", "+275760-09-13T00:00:00Z",
    "-0001-01-01T00:00:00Z", "2026-13-45T99:99:99Z", "2026-02-30T00:00:00Z", "2026-01-02T24:00:00Z",
    "2026-01-02T03:04:05", "2026-01-02T03:04:05+99:99", "2026-01-02", "99999999999", "-1", "yesterday", "\u0000", "٣",
    "9" * 5000,
)  # fmt: skip
# `Date`, and `Retry-After` in its form of a date.
DATES = (
    "Fri, 31 Dec 2199 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359",
    "Fri, 31 Dec 99999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00 +2359",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Sun, 09 Sep 2001 01:46:40 GMT", "Fri, 31 Dec 1999 23:59:59",
    "Fri, 31 Dec 1999 23:59:59 +99999999999999", "Fri, 31 Dec 1999 23:59:59 +" + "9" * 5000,
    "Fri, 31 Dec 1999 99:99:99 GMT", "Fri, 31 Dec 1999 23:59:60 GMT", "-1 Dec 2000 1:1:1 GMT", "not a date", "", " ",
)  # fmt: skip
# In the place of a figure in a header.
FIGURES = (
    "0", "-0", "-1", "+5", "0.5", "1e3", "1e308", "1e400", "nan", "inf", "-inf", "0x10", "1_000", "1,000", " 7 ", "²",
    "٣", "7 7", "99999999999", "9223372036854775808", "18446744073709551616", "9" * 19, "9" * 20, "9" * 5000, "",
    "true", "\t", *DATES,
)  # fmt: skip


def as_json(text: str) -> str:
    """A literal of JSON for a text."""
    return json.dumps(text)


# In the place of any field of a reply.
VALUES = (*NUMBERS, *map(as_json, TIMES))


def with_literal(entry: dict[str, Any], field: str, literal: str) -> bytes:
    """A JSON object with one field as that literal says, whatever it says."""
    mark = "@here@"
    return json.dumps(entry | {field: mark}).replace(json.dumps(mark), literal).encode()
