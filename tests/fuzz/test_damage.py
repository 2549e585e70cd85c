"""Any file of the state folder is damaged at any moment: what is whole is found again (S4, W3, R3)."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.damage import Case, all_cases, moments, run

_SHARDS = 4


def complaints_of(cases: list[Case]) -> list[str]:
    """Return what is wrong in each case, with the words that repeat it."""
    return [f"python -m tests.fuzz.damage '{case}'\n    {one}" for case in cases for one in run(case)]


def test_some_files_are_damaged_and_what_is_whole_is_found() -> None:
    chance = random.Random(1)
    assert complaints_of([chance.choice(all_cases(moment)) for moment in moments()]) == []


@pytest.mark.long
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("number", range(8))
def test_every_file_is_damaged_and_what_is_whole_is_found(number: int, shard: int) -> None:
    assert complaints_of(all_cases(list(moments())[number])[shard::_SHARDS]) == []
