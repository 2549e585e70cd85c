"""Any call of the disk or of the database fails once, for a while or for good, in every worker and handler (H7)."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.calls import Case, cases_of, resident_bytes, run
from tests.fuzz.calls_lives import LIVES

# Of some 26,000 cases `make test-long` takes one of so many, others in each shard of a life.
_EACH = 9
_SHARDS = 4
_IN_SAMPLE = ("edit", "start")
# What a process may grow by in a few hundred lives.
_MOST_GROWTH_BYTES = 200 << 20


def complaints_of(cases: list[Case]) -> list[str]:
    """Return what is wrong in each case, with the words that repeat it."""
    found: list[str] = []
    missed = 0
    for case in cases:
        outcome = run(case)
        # A call that comes by another way, or fewer times than when it was recorded, does not fail.
        missed += not outcome.hits and not outcome.complaints
        found += [f"python -m tests.fuzz.calls '{case}'\n    {one}" for one in outcome.complaints]
    if missed > len(cases) // 5:
        found.append(f"in {missed} of {len(cases)} cases no call failed: the lives are not the same each time")
    return found


@pytest.mark.parametrize("life", _IN_SAMPLE)
def test_some_calls_fail_and_nothing_is_lost(life: str) -> None:
    assert complaints_of(random.Random(life).sample(cases_of(life), 1)) == []


@pytest.mark.long
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("life", LIVES)
def test_calls_of_every_worker_and_handler_fail_and_nothing_is_lost(life: str, shard: int) -> None:
    before = resident_bytes()
    assert complaints_of(cases_of(life)[shard :: _EACH * _SHARDS]) == []
    assert resident_bytes() - before < _MOST_GROWTH_BYTES
