"""Any call of the disk or of the database fails once, for a while or for good, in every worker and handler (H7)."""

from __future__ import annotations

import random

import pytest

from tests.fuzz.calls import Case, cases_of, run
from tests.fuzz.calls_lives import LIVES

# Of some 26,000 cases `make test-long` takes each of so many, other ones in each shard of a life.
_EACH = 9
_SHARDS = 4
# Each life is in `make test` on one day of these: its name decides.
_IN_SAMPLE = ("edit", "start")


def complaints_of(cases: list[Case]) -> list[str]:
    """Return what is wrong in each case, with the words that repeat it."""
    found = []
    for case in cases:
        outcome = run(case)
        again = f"python -m tests.fuzz.calls '{case}'"
        if not outcome.hits and not outcome.complaints:
            found.append(f"{again}\n    no call failed: the life is not the same each time")
        found += [f"{again}\n    {one}" for one in outcome.complaints]
    return found


@pytest.mark.parametrize("life", _IN_SAMPLE)
def test_some_calls_fail_and_nothing_is_lost(life: str) -> None:
    assert complaints_of(random.Random(life).sample(cases_of(life), 2)) == []


@pytest.mark.long
@pytest.mark.parametrize("shard", range(_SHARDS))
@pytest.mark.parametrize("life", LIVES)
def test_calls_of_every_worker_and_handler_fail_and_nothing_is_lost(life: str, shard: int) -> None:
    assert complaints_of(cases_of(life)[shard :: _EACH * _SHARDS]) == []
