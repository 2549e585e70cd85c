"""What each kind of setting may be: reads a value and tells what is allowed. Pure.

Each field of a section in `config` carries its kind. A value comes as TOML has it (a number, a text, a list) or as text
from the environment or a flag.
"""

from __future__ import annotations

import itertools
import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass

from remotefs.units import SIZE_UNITS, TIME_UNITS, parse_size, parse_time, size_text, time_text

# The most of a wrong value that a message shows.
_SHOWN_CHARACTERS = 80
# Slower ones would make every piece of a file wait for seconds.
_LEAST_RATE, _MOST_RATE = 1 << 10, 1 << 40
_PLAIN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# int() reads no more digits than these of a text.
_WHOLE = re.compile(r"\d{1,4000}", re.ASCII)
_MOST_BITS = 1000
_TRUE, _FALSE = ("true", "1"), ("false", "0")


class Kind(ABC):
    """The values that a setting may have."""

    # Whether a message may show a wrong value.
    is_secret = False

    @property
    @abstractmethod
    def allowed(self) -> str:
        """Return what may stand there, as the rest of "give …"."""

    @abstractmethod
    def read(self, value: object) -> object:
        """Return the value as the setting has it. Raises ValueError where it is not allowed."""

    def split(self, text: str) -> object:
        """Return the value that a text of the environment stands for: a list for a kind of several."""
        return text

    def shown(self, value: object) -> str:
        """Return a wrong value for a message, cut where it is long."""
        if self.is_secret:
            return "the value (not shown)"
        # Of a number with thousands of digits, not even repr is to be had.
        text = "a huge number" if isinstance(value, int) and value.bit_length() > 10_000 else repr(value)
        return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


@dataclass(frozen=True)
class Time(Kind):
    """A time. Plain numbers are in units of `plain_s` seconds, and so is the value of the setting.

    0 is allowed too where `or_zero` says what it means.
    """

    least_s: float
    most_s: float
    plain_s: float = 1.0
    or_zero: str = ""

    @property
    def allowed(self) -> str:
        """Return the range and the units."""
        units = TIME_UNITS if self.plain_s == 1 else TIME_UNITS.replace("seconds", "days")
        zero = f", or 0 for {self.or_zero}" if self.or_zero else ""
        return f"a time from {time_text(self.least_s)} to {time_text(self.most_s)}{zero} ({units})"

    def read(self, value: object) -> float:
        """Return the time in units of `plain_s`."""
        if isinstance(value, str) and not _is_plain(value):
            seconds = parse_time(value)
        else:
            seconds = _number(value) * self.plain_s
        if seconds == 0 and self.or_zero:
            return 0.0
        return _within(seconds, self.least_s, self.most_s) / self.plain_s


@dataclass(frozen=True)
class Size(Kind):
    """A number of bytes; 0 too where `or_zero` says what it means."""

    least: int
    most: int
    or_zero: str = ""
    power_of_two: bool = False

    @property
    def allowed(self) -> str:
        """Return the range and the units."""
        power = ", a power of two" if self.power_of_two else ""
        zero = f", or 0 for {self.or_zero}" if self.or_zero else ""
        return f"a size from {size_text(self.least)} to {size_text(self.most)}{power}{zero} ({SIZE_UNITS})"

    def read(self, value: object) -> int:
        """Return the bytes."""
        size = _whole(parse_size(value) if isinstance(value, str) else value)
        if size == 0 and self.or_zero:
            return 0
        if self.power_of_two and size & (size - 1):
            raise ValueError("not a power of two")
        return int(_within(size, self.least, self.most))


class Rate(Kind):
    """Bytes per second; 0 for no limit."""

    @property
    def allowed(self) -> str:
        """Return the range and the units."""
        least, most = size_text(_LEAST_RATE), size_text(_MOST_RATE)
        return f"bytes per second from {least} to {most}, such as 10M or 10M/s, or 0 for no limit ({SIZE_UNITS})"

    def read(self, value: object) -> int:
        """Return the bytes per second."""
        text = value.strip().removesuffix("/s") if isinstance(value, str) else None
        rate = _whole(value if text is None else parse_size(text))
        return rate and int(_within(rate, _LEAST_RATE, _MOST_RATE))


@dataclass(frozen=True)
class Number(Kind):
    """A whole number."""

    least: int
    most: int

    @property
    def allowed(self) -> str:
        """Return the range."""
        return f"a whole number from {self.least} to {self.most}"

    def read(self, value: object) -> int:
        """Return the number."""
        return int(_within(_whole(value), self.least, self.most))


@dataclass(frozen=True)
class Part(Kind):
    """A part of a whole."""

    least: float = 0.0
    most: float = 1.0

    @property
    def allowed(self) -> str:
        """Return the range."""
        return f"a number from {self.least:g} to {self.most:g}"

    def read(self, value: object) -> float:
        """Return the part."""
        return float(_within(_number(value), self.least, self.most))


@dataclass(frozen=True)
class Word(Kind):
    """One of some words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """Return the words."""
        return f"one of {', '.join(self.words)}"

    def read(self, value: object) -> str:
        """Return the word."""
        if not isinstance(value, str) or value not in self.words:
            raise ValueError("none of the words")
        return value


class Flag(Kind):
    """Yes or no."""

    @property
    def allowed(self) -> str:
        """Return the two words."""
        return "true or false"

    def read(self, value: object) -> bool:
        """Return whether it is true."""
        word = str(value).lower() if isinstance(value, str | int) else ""
        if word not in (*_TRUE, *_FALSE):
            raise ValueError("neither of the two")
        return word in _TRUE


class Text(Kind):
    """A text that is not empty."""

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "a text that is not empty"

    def read(self, value: object) -> str:
        """Return the text."""
        if not isinstance(value, str) or not value:
            raise ValueError("no text")
        return value


class Id(Kind):
    """An id that a header carries."""

    @property
    def allowed(self) -> str:
        """Return its shape."""
        return "an id of letters, digits and signs, without blanks"

    def read(self, value: object) -> str:
        """Return the id."""
        if not isinstance(value, str) or not value or not all("!" <= character <= "~" for character in value):
            raise ValueError("not an id")
        return value


class Patterns(Kind):
    """Shell patterns on one name; there may be none."""

    @property
    def allowed(self) -> str:
        """Return their shape."""
        return "a list of shell patterns on one name, none of them empty, with a `/`, or of `*` alone"

    def read(self, value: object) -> tuple[str, ...]:
        """Return the patterns."""
        patterns = tuple(pattern for pattern in list_of(value) if isinstance(pattern, str))
        if len(patterns) != len(list_of(value)) or not all(map(_is_pattern, patterns)):
            raise ValueError("not patterns")
        return patterns

    def split(self, text: str) -> object:
        """Return the patterns, which blanks separate."""
        return text.split()


@dataclass(frozen=True)
class Times(Kind):
    """Times that follow each other."""

    each: Time
    most: int

    @property
    def allowed(self) -> str:
        """Return their number and range."""
        return f"a list of 1 to {self.most} times that increase, each {self.each.allowed}"

    def read(self, value: object) -> tuple[float, ...]:
        """Return the times in seconds."""
        times = tuple(map(self.each.read, list_of(value)))
        if not 1 <= len(times) <= self.most or any(later <= one for one, later in itertools.pairwise(times)):
            raise ValueError("none, too many, or out of order")
        return times

    def split(self, text: str) -> object:
        """Return the times, which blanks separate."""
        return text.split()


@dataclass(frozen=True)
class TimesByPattern(Kind):
    """A time for each of some shell patterns on one name, in their order."""

    each: Time

    @property
    def allowed(self) -> str:
        """Return their shape, in a file and in the environment."""
        return (
            f'a table such as {{"scratch-*" = "7d"}}, in the environment scratch-*=7d: shell patterns on one name '
            f"without a `/`, each with {self.each.allowed}"
        )

    def read(self, value: object) -> tuple[tuple[str, float], ...]:
        """Return the pairs of a pattern and its seconds."""
        pairs = list(value.items()) if isinstance(value, dict) else list_of(value)
        return tuple(map(self._pair, pairs))

    def split(self, text: str) -> object:
        """Return the pairs, which blanks separate; the last `=` ends a pattern."""
        return [word.rpartition("=")[::2] for word in text.split()]

    def _pair(self, pair: object) -> tuple[str, float]:
        match pair:
            case [str(pattern), given] if pattern and "/" not in pattern and "\0" not in pattern:
                return pattern, self.each.read(given)
        raise ValueError("not a pattern with its time")


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text.strip()) is not None


def _is_pattern(pattern: str) -> bool:
    return bool(pattern.strip("*")) and "/" not in pattern and "\0" not in pattern


def _number(value: object) -> int | float:
    """Return a number as it is, or read from a text. Raises ValueError for everything else, nan among it."""
    if isinstance(value, str):
        # float() takes digits of all scripts, and underscores between them.
        value = float(value) if _is_plain(value) else math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # nan alone
        raise ValueError("not a number")
    # Larger than any setting, and than what a float can hold.
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError("a huge number")
    return value


def _whole(value: object) -> int:
    number = int(value) if isinstance(value, str) and _WHOLE.fullmatch(value.strip()) else _number(value)
    if isinstance(number, float) and not (math.isfinite(number) and number.is_integer()):
        raise ValueError("not a whole number")
    return int(number)


def _within(value: int | float, least: float, most: float) -> int | float:
    if not least <= value <= most:
        raise ValueError("out of range")
    return value


def list_of(value: object) -> list[object]:
    """Return the parts of a value of several. Raises ValueError."""
    if not isinstance(value, list | tuple):
        raise ValueError("not a list")  # noqa: TRY004 - the caller's only error
    return list(value)
