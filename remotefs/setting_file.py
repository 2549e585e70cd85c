"""Reads a settings file: its own sections and those of its profiles, each value with its line.

[service]                     for every use
requests_per_minute = 200

[profile.work.service]        for `--profile work`: wins over the sections above
base_url = "https://gateway.example"
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from remotefs.errors import UsageError

PROFILES = "profile"
# It stands in fstab, in the names of units and on command lines.
_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Given:
    """A value that a source has for a setting; `place` tells where, for a message.

    `field` is empty for a section itself.
    """

    section: str
    field: str
    value: object
    place: Callable[[], str]


class SettingFile:
    """The settings of a file, as it was when it was read."""

    def __init__(
        self, path: Path | None, text: str, content: Mapping[str, Any], status: os.stat_result | None = None
    ) -> None:
        self.path = path
        # Whose it was and who could read it; None where there is none.
        self.status = status
        self._text = text
        self._content = content

    @classmethod
    def read(cls, path: Path | None) -> SettingFile:
        """Return the settings of a file, none where it is missing. Raises UsageError where it cannot be read."""
        if path is None:
            return cls(None, "", {})
        try:
            with path.open(encoding="utf-8-sig") as file:
                status, text = os.fstat(file.fileno()), file.read()
            return cls(path, text, tomllib.loads(text), status)
        except FileNotFoundError:
            return cls(path, "", {})
        except OSError as error:
            raise UsageError(f"{path}: the settings cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"{path}: {error}") from error

    @property
    def profiles(self) -> tuple[str, ...]:
        """Return the names of the profiles, in their order."""
        found = self._content.get(PROFILES, {})
        if not isinstance(found, dict):
            raise UsageError(f"{self.place(PROFILES)}: a profile is a table such as [profile.work.service]")
        for name in found:
            if not _PROFILE_NAME.fullmatch(name):
                raise UsageError(
                    f"{self.place(PROFILES, name)}: {name!r} is not valid for a profile: give a name of up to 64 "
                    "letters, digits, `.`, `_` and `-`, a letter or a digit first"
                )
        return tuple(found)

    def own(self) -> list[Given]:
        """Return the values of the sections outside of profiles. Raises UsageError for a value outside of a section."""
        return list(self._values({name: fields for name, fields in self._content.items() if name != PROFILES}))

    def of_profile(self, name: str) -> list[Given]:
        """Return the values of the sections of a profile that is there. Raises as `own` does."""
        sections = self._content[PROFILES][name]
        if not isinstance(sections, dict):
            raise UsageError(f"{self.place(PROFILES, name)}: a profile is a table such as [profile.work.service]")
        return list(self._values(sections, PROFILES, name))

    def place(self, *keys: str) -> str:
        """Return the file with the line at which a section or a setting begins."""
        return f"{self.path}, line {_line(self._text, keys)}"

    def _values(self, sections: Mapping[str, Any], *above: str) -> Iterator[Given]:
        for section, fields in sections.items():
            if not isinstance(fields, dict):
                example = ".".join([*above, "service"])
                raise UsageError(
                    f"{self.place(*above, section)}: {section} is outside of a section such as [{example}]"
                )
            yield Given(section, "", None, self._later(*above, section))
            for field, value in fields.items():
                yield Given(section, field, value, self._later(*above, section, field))

    def _later(self, *keys: str) -> Callable[[], str]:
        return lambda: self.place(*keys)


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Return the line at which a section or a setting begins.

    The TOML library knows no lines. But the first lines of a file are a file of their own: the setting begins after the
    most of them that can be read and do not have it.
    """
    lines = text.splitlines(keepends=True)
    without = 0
    for count in range(1, len(lines) + 1):
        try:
            content: Any = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:  # in the middle of a value of several lines
            continue
        for key in keys:
            content = content.get(key) if isinstance(content, dict) else None
        if content is not None:
            break
        without = count
    return without + 1
