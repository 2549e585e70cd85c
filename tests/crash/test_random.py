"""`kill -9` at random under a load of writers, again and again on one state folder (A3, W3)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.crash import load
from tests.crash.herd import Herd, Place, place
from tests.crash.judge import faults, tree_of
from tests.crash.operations import Tree, outcomes

# Between two complete reckonings with the service; in between only what is readable is compared.
_RECKON_EVERY = 10


class Chronicle:
    """What each writer's files may hold, as far as its diary tells."""

    def __init__(self, where: Place) -> None:
        self._where = where
        self.allowed: list[list[Tree]] = [[{}] for _ in range(load.WRITERS)]

    def one_life(self, seed: int, chance: random.Random) -> bool:
        """A mount that recovers, shows its files, is written to and is killed; whether it was killed."""
        folder = self._where.folder
        for path in [folder / "report", *(load.diary(folder, writer) for writer in range(load.WRITERS))]:
            path.unlink(missing_ok=True)
        when = {"nth": chance.randrange(1, 1500)} if chance.random() < 0.5 else {"after_s": chance.uniform(0.02, 1.0)}
        end = self._where.run(load=seed, **when)
        assert end.was_killed or end.was_fine, self._where.log()
        if (folder / "report").exists():
            self._follow(seed, load.trees(self._where.report()))
        return end.was_killed

    def reckon(self) -> list[str]:
        """Let a mount bring everything to the service; what is wrong then."""
        report = self._where.survivor()
        self._compare(load.trees(report))
        return faults(report, [tree_of(report)], self._where.stored())

    def _follow(self, seed: int, found: list[Tree]) -> None:
        self._compare(found)
        for writer, tree in enumerate(found):
            page = load.diary(self._where.folder, writer)
            notes = page.read_bytes() if page.exists() else b""
            operations = load.plan(seed, writer, tree)
            self.allowed[writer] = outcomes(operations, notes.count(b"b"), notes.count(b"d"), tree)

    def _compare(self, found: list[Tree]) -> None:
        for writer, tree in enumerate(found):
            assert tree in self.allowed[writer], (writer, _difference(tree, self.allowed[writer]), self._where.log())
            self.allowed[writer] = [tree]


def kills(count: int, folder: Path, herd: Herd, seed: int) -> int:
    """So many lives; how many were ended by a kill."""
    chance = random.Random(seed)
    killed = 0
    with place(folder, herd) as where:
        chronicle = Chronicle(where)
        for life in range(1, count + 1):
            killed += chronicle.one_life(1000 * seed + life, chance)
            if life % _RECKON_EVERY == 0 or life == count:
                assert chronicle.reckon() == [], f"seed {seed}, life {life}: {where.log()}"
    return killed


def _difference(tree: Tree, allowed: list[Tree]) -> list[dict[str, tuple[bytes | None, bytes | None]]]:
    return [
        {
            path: ((tree.get(path) or b"")[:40], (other.get(path) or b"")[:40])
            for path in tree.keys() | other.keys()
            if tree.get(path) != other.get(path)
        }
        for other in allowed
    ]


def test_a_few_times(tmp_path: Path, herd: Herd) -> None:
    assert kills(5, tmp_path / "place", herd, seed=1) >= 4


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
def test_again_and_again(seed: int, tmp_path: Path, herd: Herd) -> None:
    assert kills(40, tmp_path / "place", herd, seed) >= 36
