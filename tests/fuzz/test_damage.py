"""Any file of the state folder is damaged at any moment: what is whole is found again (S4, W3, R3)."""

from __future__ import annotations

import pytest

from tests.fuzz.calls import resident_bytes
from tests.fuzz.damage import Case, all_cases, moments, run

_SHARDS = 4
# What a process may grow by in a hundred lives.
_MOST_GROWTH_BYTES = 200 << 20


def complaints_of(cases: list[Case]) -> list[str]:
    """Return what is wrong in each case, with the words that repeat it."""
    return [f"python -m tests.fuzz.damage '{case}'\n    {one}" for case in cases for one in run(case)]


# One of each kind, and one of each moment.
SAMPLE = [
    "written|staging/6-1|cut:half",
    "sent|content/a|flip:0.500",
    "settled|content/c.pinned|remove",
    "changed|state.db-wal|flip:0.333",
    "trash|trash/1.json|cut:0",
    "copied|staging/7-3|flip:0.500",
    "ended|state.db|remove",
    "next|state|older:settled",
]


def test_some_files_are_damaged_and_what_is_whole_is_found() -> None:
    assert complaints_of([Case.parse(text) for text in SAMPLE]) == []


@pytest.mark.long
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("number", range(8))
def test_every_file_is_damaged_and_what_is_whole_is_found(number: int, shard: int) -> None:
    cases, before = all_cases(list(moments())[number])[shard::_SHARDS], resident_bytes()
    assert complaints_of(cases) == []
    assert resident_bytes() - before < _MOST_GROWTH_BYTES
