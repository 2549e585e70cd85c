"""Reads the values of options as the settings take them: times and sizes with units, rates, addresses, numbers, ids."""

from __future__ import annotations

import time
from datetime import datetime
from functools import partial

import typer

from remotefs.config import EXPIRY
from remotefs.place_kinds import ListenAddress
from remotefs.setting_kinds import Id, Kind, Number, Rate, Size, Text, Time

_DAY_S = 86_400.0


def _read(kind: Kind, text: str) -> object:
    """Return the value of an option. Raises BadParameter, which names the option in its message."""
    try:
        return kind.read(text)
    except ValueError:
        raise typer.BadParameter(f"{kind.shown(text)} is not valid: give {kind.allowed}") from None


def age_of(text: str) -> float:
    """Return the seconds of an option in which a plain number is days."""
    days = days_of(text)
    assert isinstance(days, float)
    return days * _DAY_S


def moment_of(text: str) -> float:
    """Return the moment of an option, in seconds since the epoch: so long ago, or a date and time of this place."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return time.time() - age_of(text)


# For the `parser` of a typer.Option: seconds, days (also for a plain number), bytes.
time_of = partial(_read, Time(0, 365 * _DAY_S))
days_of = partial(_read, Time(0, 36_500 * _DAY_S, plain_s=_DAY_S))
# What the service takes for an expiry.
expiry_of = partial(_read, EXPIRY)
size_of = partial(_read, Size(0, 1 << 60))
some_bytes_of = partial(_read, Size(1, 1 << 60))
rate_of = partial(_read, Rate())
listen_of = partial(_read, ListenAddress())
number_of = partial(_read, Number(1, 1 << 53))
text_of = partial(_read, Text())
id_of = partial(_read, Id())
port_of = partial(_read, Number(0, 65_535))
