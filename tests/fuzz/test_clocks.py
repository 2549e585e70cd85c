"""Clocks: whatever they show, changes go out in their time, files and the trash stay for theirs, and the mount lives.

`python -m tests.fuzz.clocks NUMBER` repeats one case and tells it in words.
"""

from __future__ import annotations

import pytest

from tests.fuzz import clocks

BATCH = 50
SAMPLE = (13, 600)


@pytest.mark.parametrize("number", SAMPLE)
def test_a_wrong_clock_harms_nothing(number: int) -> None:
    outcome = clocks.outcome_of(clocks.case_of(number))
    assert not outcome.found, str(outcome)


@pytest.mark.long
@pytest.mark.parametrize("first", range(0, clocks.CASES, BATCH))
def test_wrong_clocks_harm_nothing(first: int) -> None:
    outcomes = [clocks.outcome_of(clocks.case_of(number)) for number in range(first, first + BATCH)]
    told = "\n".join(str(outcome) for outcome in outcomes if outcome.found)
    assert not told, told
