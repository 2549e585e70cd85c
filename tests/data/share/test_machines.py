"""Machines that share attributes end alike, with nothing lost, whatever they hear when (X3, X4)."""

from __future__ import annotations

import pytest

from tests.data.share.machines import trial


def test_all_machines_end_alike() -> None:
    for seed in range(300):
        trial(seed)


@pytest.mark.long
def test_all_machines_end_alike_in_many_trials() -> None:
    for seed in range(100_000):
        trial(seed)
