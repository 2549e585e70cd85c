"""The power goes at every step of every path (W3): what fsync or close acknowledged is readable and with the service.

The state folder lies on a file system that keeps only what was synced, and of the rest nothing, or the names, or the
bytes, or some of both.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.crash.herd import Herd, place
from tests.crash.judge import faults, tree_of
from tests.crash.power import ForgetfulDisk, Persistence, is_possible
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_matrix import Point, points_of

pytestmark = pytest.mark.mount


def cut_at(
    point: Point, folder: Path, herd: Herd, disk: ForgetfulDisk, persistence: Persistence, seed: int = 0
) -> tuple[bool, list[str]]:
    """Whether the point was reached, and what is wrong after a power cut there."""
    scenario = SCENARIOS[point.scenario]
    with place(folder, herd, dict(scenario.generated)) as where:
        state = disk.root / folder.name
        state.mkdir(mode=0o700)
        # As large as it is, it is of no account here.
        (state / "reserve").touch()
        end = where.run(scenario=point.scenario, step=point.step, nth=point.nth, state=str(state))
        assert end.was_killed or end.was_fine, where.log()
        disk.cut_power(folder.name, folder / "state", persistence, seed)
        report = where.survivor()
        tree = tree_of(report)
        wrong = faults(
            report, [tree], where.stored(),
            beside=scenario.beside, may_send_twice=scenario.may_send_twice, aliases=scenario.aliases, power_cut=True,
        )  # fmt: skip
        begun, done = where.acks()
        if not scenario.aliases and not is_possible(tree, scenario.operations, begun, done):
            wrong.append(f"of {begun} operations {done} were done, and there is {_brief(tree)}")
    return end.was_killed, [f"{point}, {persistence} {seed}: {fault}" for fault in wrong]


def _brief(tree: dict[str, bytes]) -> str:
    return ", ".join(f"{path}: {len(data)} bytes {data[:12]!r}" for path, data in tree.items())


SAMPLE = [
    (Point("create, close local", "database is on the disk", 1), Persistence.NOTHING),
    (Point("fsync, and no close yet", "staged file has bytes", 3), Persistence.NAMES),
    (Point("overwrite, close local", "names are on the disk", 1), Persistence.BYTES),
    (Point("create", "sums are on the disk", 1), Persistence.NOTHING),
    (Point("overwrite", "content is on the disk", 1), Persistence.NOTHING),
    (Point("edit", "staged file has bytes", 1), Persistence.NAMES),
    (Point("reupload", "content is removed", 1), Persistence.NOTHING),
    (Point("rename over after fsync", "transaction is committed", 8), Persistence.BYTES),
]


@pytest.mark.parametrize(("point", "persistence"), SAMPLE, ids=str)
def test_some_steps(point: Point, persistence: Persistence, tmp_path: Path, herd: Herd, disk: ForgetfulDisk) -> None:
    assert cut_at(point, tmp_path / point.scenario, herd, disk, persistence) == (True, [])


# Here more is written through a descriptor after a rename that nothing made durable: it may come to the disk before it.
_OUT_OF_ORDER = {"rename over, close local"}


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(SCENARIOS.keys() - _OUT_OF_ORDER))
def test_every_other_step(name: str, tmp_path: Path, herd: Herd, disk: ForgetfulDisk) -> None:
    """Every other one, each with one of the ways in which a disk may forget."""
    chance = random.Random(name)
    wrong: list[str] = []
    for number, point in enumerate(points_of(name, tmp_path / "whole", herd)[::2]):
        folder = tmp_path / f"{name} {number}"
        wrong += cut_at(point, folder, herd, disk, chance.choice(list(Persistence)), number)[1]
        shutil.rmtree(folder)
    assert wrong == []
