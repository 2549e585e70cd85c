"""Whole lives of mounts, each from one seed: nothing acknowledged is lost, nothing is destroyed, all arrives."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.simulation.life import Life, User, life_of
from tests.simulation.shared_life import shared_life_of
from tests.simulation.world import live

# The lives of `make test`, and how many of them one test takes.
_LIVES, _AT_ONCE = 20, 2
# How long `make test-long` goes on with other lives, in seconds of the wall clock, and the seed of the first of them.
_LONG_S = float(os.environ.get("REMOTEFS_LIVES_S", "5400"))
_FIRST_LONG = 1_000


@pytest.mark.parametrize("first", range(1, _LIVES + 1, _AT_ONCE))
def test_nothing_is_lost_in_a_life(first: int) -> None:
    failed = [outcome for seed in range(first, first + _AT_ONCE) if (outcome := live(life_of(seed))).complaints]
    assert not failed, "\n".join(map(str, failed))


# Short ones, because the machines of a life with a store do much.
@pytest.mark.parametrize("seed", [7, pytest.param(21, marks=pytest.mark.long)])
def test_nothing_is_lost_in_a_life_with_a_shared_store(seed: int) -> None:
    outcome = live(shared_life_of(seed))
    assert not outcome.complaints, str(outcome)


@pytest.mark.long
@pytest.mark.timeout(_LONG_S + 600)
def test_nothing_is_lost_in_many_lives_with_a_shared_store(record_property: Callable[[str, object], None]) -> None:
    _live_for(_LONG_S / 3, 1, shared_life_of, record_property)


@pytest.mark.long
@pytest.mark.timeout(_LONG_S + 600)
def test_nothing_is_lost_in_thousands_of_lives(record_property: Callable[[str, object], None]) -> None:
    _live_for(_LONG_S, _FIRST_LONG, life_of, record_property)


def _live_for(
    for_s: float, first: int, of_seed: Callable[[int], Life], record_property: Callable[[str, object], None]
) -> None:
    failed, until_s = [], time.monotonic() + for_s
    for seed in count(first):
        if time.monotonic() > until_s:
            break
        if (outcome := live(of_seed(seed))).complaints:
            failed.append(outcome)
    record_property("lives", seed - first)
    print(f"{seed - first} lives")
    assert not failed, "\n".join(map(str, failed))


def test_a_seed_has_one_life_in_every_process() -> None:
    script = "from tests.simulation.life import life_of; from tests.simulation.world import live; print(live(life_of(4)).digest)"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_another_seed_orders_the_tasks_otherwise() -> None:
    steps = (("open", 0, "a", "trunc"), ("write", 0, 0, 100, 7), ("close", 0))
    digests = {live(Life(seed, (User(0, steps), User(0, steps[:0])))).digest for seed in (1, 2)}
    assert len(digests) == 2


def test_a_script_of_a_life_is_that_life() -> None:
    life = life_of(3)
    assert eval(repr(life)) == life
