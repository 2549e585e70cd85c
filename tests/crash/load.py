"""A load of writers that goes on until the process is killed, and what they have been told.

Each writer has a folder of its own, takes its files as it finds them, and follows a plan that is the same for the same
seed. Before it begins an operation it says so in its diary, and so when it was done: what the files may hold after a
kill follows from the plan and the diary.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path

import trio

from tests.crash.operations import (
    Append,
    Edit,
    Operation,
    Rename,
    Scene,
    Sync,
    Tree,
    Truncate,
    Unlink,
    Write,
    content,
)
from tests.crash.report import Report
from tests.parts import Host

WRITERS = 4
_NAMES = tuple("abcdef")
_SIZES = (0, 10, 700, 5000, 140_000)
_LENGTH = 60


def folder_of(writer: int) -> str:
    """Where a writer's files are."""
    return f"w{writer}"


def trees(report: Report) -> list[Tree]:
    """What each writer finds."""
    files = [(path, shown.content) for shown in report.files for path in shown.paths]
    return [
        {path: data or b"" for path, data in files if path.startswith(f"{folder_of(writer)}/")}
        for writer in range(WRITERS)
    ]


def plan(seed: int, writer: int, tree: Tree) -> list[Operation]:
    """What a writer does to its files as they are."""
    chance = random.Random(f"{seed}/{writer}")
    operations: list[Operation] = []
    while len(operations) < _LENGTH:
        for operation in _choose(chance, tree, f"{folder_of(writer)}/", 1000 * seed + len(operations)):
            *_, tree = operation.passes(tree)
            operations.append(operation)
    return operations


def _choose(chance: random.Random, tree: Tree, folder: str, number: int) -> Iterable[Operation]:
    """The next one or two; a file with two names is only read and unlinked, for a `Tree` does not know of links."""
    path, data = folder + chance.choice(_NAMES), content(chance.choice(_SIZES), number)
    there, other = path in tree, folder + chance.choice(_NAMES)
    kinds = ["write", "write", "sync"] + ["edit", "truncate", "rename", "unlink", "save"] * there
    match chance.choice(kinds):
        case "edit":
            return [Edit(path, chance.randrange(len(tree[path]) + 1), data or b"!")]
        case "truncate":
            return [Truncate(path, chance.choice(_SIZES))]
        case "rename" if other != path:
            return [Rename(path, other)]
        case "unlink":
            return [Unlink(path)]
        case "save":
            return [Write(f"{path}.new", data), Rename(f"{path}.new", path)]
        case "sync":
            return [Sync(path, data), Append(path, b"more")]
        case _:
            return [Write(path, data)]


def diary(folder: Path, writer: int) -> Path:
    """Where a writer notes what it begins (b) and has done (d)."""
    return folder / f"diary{writer}"


async def run(host: Host, folder: Path, seed: int, found: Report) -> None:
    """Writers side by side, each until its plan is done."""
    async with trio.open_nursery() as nursery:
        for writer, tree in enumerate(trees(found)):
            if folder_of(writer) not in host.ls():
                host.mkdir(folder_of(writer))
            nursery.start_soon(_write, host, diary(folder, writer), plan(seed, writer, tree))


async def _write(host: Host, path: Path, operations: list[Operation]) -> None:
    scene = Scene(host, "")
    page = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for operation in operations:
        os.write(page, b"b")
        await operation.do(scene)
        os.write(page, b"d")
        # What waits for its time gets it now and then, so that there is something to be killed in.
        host.make_due()
        await trio.lowlevel.checkpoint()
