"""The bounds of every number that comes from outside: the largest and smallest that are accepted, and why.

A number beyond its bound is cut to it, so that one entry of a listing cannot keep all others from being read. What is
no number, or no time, is for the caller to judge. All bounds leave room for sums in 64 bits, as SQLite and the kernel
count.
"""

from __future__ import annotations

import math
import re
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated

import msgspec

_NS = 1_000_000_000
# The largest file of ext4, and sixteen times the storage of an organization. Half a million of them add up in 64 bits.
MOST_FILE_BYTES = 1 << 44
# A time later than the year 2200 means "practically never". A century can be added to it in 64 bits.
LATEST_NS = 7_258_118_400 * _NS
# A service's clock shows no time before 2024, the year in which the API came to be, and none after the year 2100.
EARLIEST_CLOCK_NS = 1_704_067_200 * _NS
LATEST_CLOCK_NS = 4_102_444_800 * _NS
# The longest wait that a reply can impose; after it one request asks again.
LONGEST_WAIT_S = 600.0
# A limit above this in a reply is a mistake.
MOST_REQUESTS_PER_MINUTE = 1_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 3339 in shape, and what is near it: the years that no datetime has, a fraction after a comma or without digits, a
# zone without a colon or none at all.
_NEAR_RFC3339 = re.compile(
    r"([+-]?\d{4,12})-(\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(?:[.,](\d{0,100}))? ?([Zz]|[+-]\d\d(?::?\d\d)?|)", re.ASCII
)
_SECONDS = re.compile(r"-?\d{1,30}(?:\.\d{1,30})?", re.ASCII)
_FIGURE = re.compile(r"\d{1,30}", re.ASCII)
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


def file_bytes(size: int) -> int:
    """Return a size in bytes, at most MOST_FILE_BYTES."""
    return min(size, MOST_FILE_BYTES)


def time_ns(value: str | int | float) -> int:
    """Return a time of a file in unix nanoseconds, within 0..LATEST_NS, exact to the microsecond.

    `value` is RFC 3339, or nearly so, also with a leap second or a year that Python's datetime cannot hold; or unix
    seconds, as gateways write them. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        if _SECONDS.fullmatch(value):
            return _from_seconds(float(value))
        return _from_text(value)
    return _from_seconds(value)


def clock_ns(date: str | None) -> int | None:
    """Return the time of a Date header in unix nanoseconds; None for a time that no service's clock shows.

    The header has whole seconds, so the middle of its second is the best guess.
    """
    moment = http_date(date)
    if moment is None:
        return None
    ns = _unix_ns(moment) + _NS // 2
    return ns if EARLIEST_CLOCK_NS <= ns <= LATEST_CLOCK_NS else None


def http_date(text: str | None) -> datetime | None:
    """Return the moment in a date header of HTTP, UTC where it names no zone; None when it is not a date."""
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def wait_s(text: str | None, unit_s: float = 1.0) -> float | None:
    """Return the wait in a header, a number in units of `unit_s`, as 0..LONGEST_WAIT_S seconds; None if not valid."""
    try:
        number = float(text or "") * unit_s
    except ValueError:
        return None
    return min(number, LONGEST_WAIT_S) if math.isfinite(number) and number >= 0 else None


def wait_until_s(text: str | None, now_s: float) -> float | None:
    """Return the seconds from `now_s` (unix time) until the date in a header, 0..LONGEST_WAIT_S; None if not valid."""
    moment = http_date(text)
    if moment is None:
        return None
    return min(max(_unix_ns(moment) / _NS - now_s, 0.0), LONGEST_WAIT_S)


def rate(text: str | None) -> int | None:
    """Return the figure of a rate header, at most MOST_REQUESTS_PER_MINUTE; None if it is not valid."""
    figure = (text or "").strip()
    return min(int(figure), MOST_REQUESTS_PER_MINUTE) if _FIGURE.fullmatch(figure) else None


def _from_text(text: str) -> int:
    try:
        return _unix_ns(msgspec.convert(text, _Time))
    except msgspec.ValidationError:
        return _from_odd_text(text)


def _from_odd_text(text: str) -> int:
    match = _NEAR_RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is not a time")
    year, day, minute, second, fraction, zone = match.groups()
    if int(year) > MAXYEAR:
        return LATEST_NS
    if int(year) < MINYEAR:
        return 0
    # A leap second is taken for the one before it, and a time without a zone for UTC.
    plain = f"{year}-{day}T{minute}:{'59' if second == '60' else second}.{(fraction or '0')[:9]}{_zone(zone)}"
    try:
        return _unix_ns(msgspec.convert(plain, _Time))
    except msgspec.ValidationError:
        raise ValueError(f"{text[:40]!r} is not a time") from None


def _zone(zone: str) -> str:
    """Return a zone as RFC 3339 writes it."""
    digits = zone[1:].replace(":", "")
    return f"{zone[0]}{digits[:2]}:{digits[2:] or '00'}" if digits else "Z"


def _from_seconds(seconds: float) -> int:
    within = min(max(seconds, 0), LATEST_NS // _NS)
    return round(within * 1_000_000) * 1000


def _unix_ns(moment: datetime) -> int:
    since = moment - _EPOCH
    ns = (since.days * 86_400 + since.seconds) * _NS + since.microseconds * 1000
    return min(max(ns, 0), LATEST_NS)
