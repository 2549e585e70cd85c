"""The judge's side of the forgetful disk, and what may be found on it after a power cut.

Only what was synced is promised: by fsync, and by a close that returned 0. What came after the last of these may be
there or not, in the order in which it was done; a file that was being written may hold any mixture of old and new.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.crash.forgetful import Persistence
from tests.crash.operations import Append, Edit, Operation, Overtake, Sync, Tree, Truncate, Write

# Their end is an acknowledgement that the bytes, and all that was done before, survive.
_DURABLE = (Write, Edit, Append, Overtake, Sync)


class ForgetfulDisk:
    """A mount of `forgetful.py`; its folders at the root are state folders, one a victim."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "disk"
        self.root.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forgetful", str(self.root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._await("ready")

    def cut_power(self, folder: str, target: Path, persistence: Persistence, seed: int) -> None:
        """What is left of a folder at the root, written to `target`; all the rest is forgotten."""
        self._tell("cut", folder, target, persistence, seed)

    def fail(self, number: int, chance: float, calls: str) -> None:
        """From now on that part of some calls (`write`, `sync`, `make`, apart by commas) ends with an errno."""
        self._tell("fail", number, chance, calls)

    def close(self) -> None:
        """Unmount."""
        try:
            self._process.communicate(timeout=20)
        finally:
            self._process.kill()
            subprocess.run(["fusermount3", "-uzq", str(self.root)], check=False)

    def _tell(self, *words: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()
        self._await("done")

    def _await(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"


def is_possible(tree: Tree, operations: Sequence[Operation], begun: int, done: int) -> bool:
    """Whether a tree may be found when the power went after so many operations were begun and done."""
    return any(
        _matches(tree, before, expected, operation) for before, expected, operation in _moments(operations, begun, done)
    )


def _moments(operations: Sequence[Operation], begun: int, done: int) -> Iterator[tuple[Tree, Tree, Operation | None]]:
    """(tree before the operation under way, a tree that it passes, the operation), from the last acknowledgement on."""
    kept = max(
        (number for number, operation in enumerate(operations[:done], 1) if isinstance(operation, _DURABLE)), default=0
    )
    tree: Tree = {}
    for operation in operations[:kept]:
        *_, tree = operation.passes(tree)
    yield tree, tree, None
    for operation in operations[kept:begun]:
        passed = list(operation.passes(tree))
        yield from ((tree, expected, operation) for expected in passed)
        tree = passed[-1]


def _matches(found: Tree, before: Tree, expected: Tree, operation: Operation | None) -> bool:
    path = operation.path if isinstance(operation, Write | Sync | Edit | Append | Overtake | Truncate) else None
    if path is None:
        return found == expected
    if _without(found, path) != _without(expected, path):
        return False
    if isinstance(operation, Write | Sync):
        # Its old bytes were given up, the new ones are not acknowledged.
        return True
    *_, after = operation.passes(before)
    return path in found and _is_mixture(found[path], before[path], after[path])


def _is_mixture(found: bytes, old: bytes, new: bytes) -> bool:
    if len(found) not in {len(old), len(new)}:
        return False
    return all(
        byte in (old[at : at + 1] + new[at : at + 1] or b"\0") or (at >= len(old) and byte == 0)
        for at, byte in enumerate(found)
    )


def _without(tree: Tree, path: str) -> Tree:
    return {name: data for name, data in tree.items() if name != path}


__all__ = ["ForgetfulDisk", "Persistence", "is_possible"]
