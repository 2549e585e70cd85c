"""`kill -9` at every step of every path (A3, W3): what close or fsync acknowledged is readable and with the service."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.crash.herd import Herd, Place, place
from tests.crash.judge import faults
from tests.crash.operations import outcomes
from tests.crash.scenarios import SCENARIOS, Scenario


class Point(NamedTuple):
    """The nth time that a step is reached in a scenario."""

    scenario: str
    step: str
    nth: int


class Again(NamedTuple):
    """Where the recovery is killed: the nth time that a step is reached, or the nth step of all."""

    step: str | None
    nth: int


NEVER = Again(None, 0)


def points_of(name: str, folder: Path, herd: Herd) -> list[Point]:
    """Every step that is reached when nothing goes wrong; it is judged, too."""
    scenario = SCENARIOS[name]
    with place(folder, herd, dict(scenario.generated)) as where:
        end = where.run(scenario=name, traced=True)
        assert end.was_fine, where.log()
        assert where.acks() == (len(scenario.operations),) * 2
        steps = (folder / "steps").read_text().splitlines()
        assert judge(where, scenario) == []
    counts: Counter[str] = Counter()
    found = []
    for step in steps:
        counts[step] += 1
        found.append(Point(name, step, counts[step]))
    return found


def judge(where: Place, scenario: Scenario) -> list[str]:
    begun, done = where.acks()
    report = where.survivor()
    found = faults(
        report,
        outcomes(scenario.operations, begun, done),
        where.stored(),
        beside=scenario.beside,
        may_send_twice=scenario.may_send_twice,
        aliases=scenario.aliases,
    )
    if done == len(scenario.operations) and Counter(report.trash) != Counter(scenario.trashed):
        found.append(f"the trash holds {len(report.trash)} files instead of {len(scenario.trashed)}")
    return found


def kill_at(point: Point, folder: Path, herd: Herd, *, again: Again = NEVER) -> tuple[bool, list[str]]:
    """Whether all was reached, and what is wrong after it; with `again` the recovery is killed, too."""
    scenario = SCENARIOS[point.scenario]
    with place(folder, herd, dict(scenario.generated)) as where:
        ends = [where.run(scenario=point.scenario, step=point.step, nth=point.nth)]
        if again.nth:
            ends.append(where.run(step=again.step, nth=again.nth))
        for end in ends:
            assert end.was_killed or end.was_fine, where.log()
        wrong = judge(where, scenario)
    return all(end.was_killed for end in ends), [f"{point}, {again}: {fault}" for fault in wrong]


# Each kind of step once, in the scenario where most hangs on it.
SAMPLE = [
    Point("create", "database gets a new form", 1),
    Point("create, close local", "staged file is made", 1),
    Point("create, close local", "staged file has bytes", 2),
    Point("fsync, and no close yet", "staged bytes are on the disk", 2),
    Point("rename over, close local", "names are on the disk", 1),
    Point("rename over", "transaction is about to commit", 5),
    Point("exchange", "transaction is committed", 3),
    Point("overwrite, close local", "database is on the disk", 1),
    Point("truncate", "staged copy is whole", 1),
    Point("edit", "staged copy has its name", 1),
    Point("truncate", "staged file is cut", 2),
    Point("edit", "upload: its attempt is on the disk", 1),
    Point("overwrite", "request gets a piece", 1),
    Point("reupload", "request is sent whole", 1),
    Point("exchange", "upload: the service has it", 1),
    Point("backup and rename", "upload: it is bound", 1),
    Point("reupload", "sums have their name", 1),
    Point("rename of a large folder", "renamed folder: it is decided", 1),
    Point("rename of a large folder", "renamed folder: files have followed", 11),
    Point("create", "staged file is content", 1),
    Point("reupload", "content has lost its bytes", 1),
    Point("rename over", "delete: it is decided", 1),
    Point("unlink", "delete: the service has forgotten it", 1),
    Point("edit what the service generated", "cached chunk is written", 1),
    Point("removed elsewhere", "trash has the bytes", 1),
    Point("restore from the trash", "trash has lost the bytes", 1),
    Point("keeps changing", "staged file is frozen", 1),
    Point("keeps changing", "request is sent whole", 1),
    Point("keeps changing", "frozen version is removed", 1),
    Point("keeps changing, from nothing", "staged file is set aside", 1),
    Point("keeps changing, from nothing", "upload: the service has it", 1),
]
DOUBLE_SAMPLE = [
    (Point("reupload", "request is sent whole", 1), Again("upload: the listing was read back", 1)),
    (Point("create", "upload: the service has it", 1), Again("upload: it is bound", 1)),
    (Point("overwrite", "upload: it is bound", 1), Again("staged file is content", 1)),
    (Point("fsync, and no close yet", "staged file has bytes", 2), Again("recovery is done", 1)),
]


@pytest.mark.parametrize("point", SAMPLE, ids=lambda point: f"{point.scenario}: {point.step}")
def test_a_step_of_each_kind(point: Point, tmp_path: Path, herd: Herd) -> None:
    assert kill_at(point, tmp_path / "place", herd) == (True, [])


@pytest.mark.parametrize(("point", "again"), DOUBLE_SAMPLE, ids=lambda point: point.step)
def test_a_crash_in_the_recovery(point: Point, again: Again, tmp_path: Path, herd: Herd) -> None:
    assert kill_at(point, tmp_path / "place", herd, again=again) == (True, [])


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_step(name: str, tmp_path: Path, herd: Herd) -> None:
    """Every third time the recovery is killed as well, somewhere."""
    points = points_of(name, tmp_path / "whole", herd)
    chance = random.Random(name)
    wrong: list[str] = []
    killed = 0
    for number, point in enumerate(points):
        again = Again(None, chance.randrange(1, 40)) if number % 3 == 0 else NEVER
        was_killed, found = kill_at(point, tmp_path / str(number), herd, again=again)
        killed += was_killed or again != NEVER
        wrong += found
        shutil.rmtree(tmp_path / str(number))
    assert wrong == []
    # The order in which uploads end is not the same each time, so the last occurrence of a step may not come.
    assert killed >= 0.8 * len(points)
