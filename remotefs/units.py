"""Sizes and times with units, as people write them: `64KiB`, `500MB`, `1G`, `30s`, `5m`, `2h`, `30d`. Pure.

A size is read as GNU's tools read it: `K`, `KiB` and so on count 1024 each, `KB` counts 1000. A plain number is bytes
or seconds. The libraries for this are larger than these lines, read one of the two only, or are no longer kept.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_NUMBER = r"(\d{1,30}(?:\.\d{1,30})?(?:[eE][+-]?\d{1,2})?)"
_SIZE = re.compile(rf"{_NUMBER}\s*(?:([KMGTP])(i?B)?|B)?", re.IGNORECASE | re.ASCII)
_TIME = re.compile(rf"{_NUMBER}\s*(ms|s|m|min|h|d)?", re.IGNORECASE | re.ASCII)
_POWERS = " KMGTP"
_NS = 1_000_000_000
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}

SIZE_UNITS = "bytes, or with K, M, G or T"
TIME_UNITS = "seconds, or with ms, s, m, h or d"


def parse_size(text: str) -> int:
    """Return the bytes that `text` stands for. Raises ValueError where it is not a size."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size")
    number, letter, suffix = match.groups()
    step = 1000 if (suffix or "").lower() == "b" else 1024
    size = _value(number) * step ** _POWERS.index((letter or " ").upper())
    if letter is None and size != int(size):
        raise ValueError(f"{text!r} is a part of a byte")
    return int(size)


def parse_time(text: str) -> float:
    """Return the seconds that `text` stands for. Raises ValueError where it is not a time."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    number, unit = match.groups()
    return _value(number) * _SECONDS[(unit or "s").lower()]


def size_text(size: int) -> str:
    """Return an exact size as people write it: `64 KiB`, `1000 bytes`."""
    for power, unit in reversed(list(enumerate(["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]))):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power} {unit}"
    return f"{size} bytes"


def time_text(seconds: float) -> str:
    """Return an exact time as people write it: `10 ms`, `30 s`, `2 h`, `30 d`."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g} ms"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds / length:g} {unit}"
    return f"{seconds:g} s"


def short_time_text(seconds: int) -> str:
    """Return whole seconds as `parse_time` reads them, without a blank: `30d`, `90m`, `3601s`."""
    for unit in "dhm":
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds // int(_SECONDS[unit])}{unit}"
    return f"{seconds}s"


def rfc3339(at_ns: int) -> str:
    """Return a time in ns since the epoch as RFC 3339 writes it, in UTC."""
    return datetime.fromtimestamp(at_ns / _NS, UTC).isoformat().replace("+00:00", "Z")


def _value(number: str) -> int | float:
    return int(number) if number.isdecimal() else float(number)
