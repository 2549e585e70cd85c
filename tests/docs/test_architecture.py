"""docs/architecture.md has a line for each module, in the section of its package, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.support import REPOSITORY, sections

PACKAGE = REPOSITORY / "remotefs"
TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def _modules() -> set[Path]:
    found = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    return {path.with_suffix("") for path in found}


def _told() -> list[Path]:
    told = []
    for heading, body in sections(sections(TEXT, 2)["The modules"], 3).items():
        [folder] = re.findall(r"^`(?:remotefs/)?(.*?)/?`:", heading)
        told += [Path(folder) / name for name in re.findall(r"^- `([\w/.]+)`: \S", body, re.MULTILINE)]
    return told


def test_each_module_has_its_line() -> None:
    told = _told()
    assert set(told) == _modules()
    assert len(told) == len(set(told))
