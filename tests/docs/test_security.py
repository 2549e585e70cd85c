"""docs/security.md: every kind of attacker has its rows, and every row names tests that there are, or says that nothing protects."""

from __future__ import annotations

import re

import pytest

from tests.docs.support import DOCS, REPOSITORY, rows, sections
from tests.docs.test_semantics import functions_of

TEXT = (DOCS / "security.md").read_text(encoding="utf-8")
ROWS = rows(sections(TEXT, 2)["Threats"])
PROOF = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("attacker", [
    "another user of this machine", "the service", "a man in the middle", "a thief of the disk", "a file name",
    "a program in the mount", "backup", "another machine", "the local server",
])  # fmt: skip
def test_every_attacker_has_a_row(attacker: str) -> None:
    assert any(attacker in row[0] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_row_names_tests_that_exist_or_says_that_nothing_protects(row: list[str]) -> None:
    _, threat, protection, tests = row
    assert threat
    assert protection
    if tests == "–":
        assert "**nothing**" in protection
        return
    named = PROOF.findall(tests)
    assert named
    assert re.sub(PROOF, "", tests).strip() == ""
    assert [path for path, name in named if name and name not in functions_of(REPOSITORY / path)] == []
    assert [path for path, _ in named if not (REPOSITORY / path).exists()] == []
