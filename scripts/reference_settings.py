"""The settings as records: their kinds and defaults from the program, the reason for each from the document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from remotefs.config import Config, Secret
from remotefs.setting_sources import kinds_of, variable_of


@dataclass(frozen=True)
class Setting:
    """One setting. `default` is as the file writes it, empty where it is unset."""

    section: str
    name: str
    allowed: str
    default: str
    variable: str
    reason: str


def settings_of(document: str) -> list[Setting]:
    """Return all settings, with their reasons as docs/configuration.md has them."""
    reasons = dict(_reasons(document))
    return [
        Setting(
            section,
            name,
            kind.allowed,
            _default(getattr(getattr(Config(), section), name)),
            variable_of(section, name),
            reasons.get((section, name), ""),
        )
        for section in Config.__struct_fields__
        for name, kind in kinds_of(section).items()
    ]


def _reasons(document: str) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the last cell of each row of the tables below `### [section]`, by section and setting."""
    for section, body in re.findall(r"^### \[(\w+)\]$(.*?)(?=^##)", document, re.MULTILINE | re.DOTALL):
        for row in body.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
            if cells and re.fullmatch(r"`\w+`", cells[0]):
                yield (section, cells[0].strip("`")), cells[-1]


def _default(value: object) -> str:
    if value is None or isinstance(value, Secret):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_default(one) for one in value) + "]"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
