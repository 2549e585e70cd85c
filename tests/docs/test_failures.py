"""docs/failures.md: every event that people ask about is there, and every row names a test that there is."""

from __future__ import annotations

import re

import pytest

from tests.docs.support import DOCS, REPOSITORY, rows
from tests.docs.test_semantics import PROOF, functions_of

ROWS = rows((DOCS / "failures.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("event", [
    "crash", "power cut", "network is gone", "429", "quota", "key is wrong", "another account", "disk is full",
    "deleted, replaced or expires elsewhere", "two machines", "too large", "refuses the name",
])  # fmt: skip
def test_every_event_has_its_row(event: str) -> None:
    assert any(event in row[0] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_row_is_whole_and_its_tests_exist(row: list[str]) -> None:
    *cells, tests = row
    assert len(cells) == 4
    assert all(cells)
    named = PROOF.findall(tests)
    assert named
    assert re.sub(PROOF, "", tests).strip() == ""
    assert [name for path, name in named if name not in functions_of(REPOSITORY / path)] == []
