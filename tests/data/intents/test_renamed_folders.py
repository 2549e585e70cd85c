"""W7, H8: the files beneath a renamed folder follow in steps, and in the end it is as if they had followed at once.

Two machines do the same, step by step: on one of them every rename is followed at once, on the other in steps of one
entry, with other changes, and crashes, between them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from remotefs.data.content.labels import Label, read_label
from remotefs.data.intents import renamed_folders
from remotefs.mount.check.inspection import Scope, check_state
from remotefs.store.records import NEVER_NS, IntentKind
from remotefs.vfs.namespace import RENAME_EXCHANGE
from tests.faults import FaultyServer
from tests.parts import Host, clock, running, server
from tests.sampling import sample

__all__ = ["clock", "server"]
Server, Clock = FaultyServer, trio.abc.Clock
NAMES = ("a", "b", "c", "d")
# The last is never uploaded (N6).
TOPS = ("x", "y", ".Trash-0")
EVERYTHING = 10**9


@dataclass
class Machine:
    """One machine; `at_once` is the size of a folder that follows in its rename."""

    host: Host
    at_once: int
    steps: Iterator[None] = field(default_factory=lambda: iter(()))

    def __post_init__(self) -> None:
        self.host.parts.intents.renamed_folders.at_once = self.at_once

    def follow(self, steps: int = EVERYTHING) -> None:
        """Take so many steps, or all."""
        while steps and self.host.parts.store.renames.first() is not None:
            steps -= 1
            if next(self.steps, self) is self:
                first = self.host.parts.store.renames.first()
                assert first is not None
                self.steps = self.host.parts.intents.renamed_folders.follow(first)

    def files(self) -> list[str]:
        """Every path of every file."""
        tree = self.host.parts.tree
        return sorted(path for inode in tree.files_beneath(1) for path in tree.paths_of(inode.ino))

    def folders(self) -> list[str]:
        """Every folder."""
        tree = self.host.parts.tree
        return sorted(path for entry in tree.beneath(1) if entry.is_dir for path in tree.paths_of(entry.ino))

    def summary(self) -> dict[str, object]:
        """Everything that a user, the next mount or the service can tell; without times."""
        parts = self.host.parts
        pending = self.host.pending()
        uploads = [i for i in pending if i.kind is not IntentKind.DELETE]
        return {
            "files": {path: self.host.xattr(path, "state") for path in self.files()},
            "folders": self.folders(),
            "uploads": {i.ino: (i.kind, i.due_ns == NEVER_NS) for i in uploads},
            "to go": {i.file_id for i in pending if i.file_id} | {one for i in pending for one in i.replaces},
            "tombstones": {remote.file_id for remote in parts.remotes.tombstoned()},
            "labels": {path: self._label(path) for path in self.files()},
        }

    def _label(self, path: str) -> str | None:
        inode, parts = self.host.stat(path), self.host.parts
        if inode.staged_gen is None:
            return None
        label = read_label(parts.staging.place(inode.ino, inode.staged_gen))
        return label.path if isinstance(label, Label) else str(label)


Act = Callable[[Machine], object]


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _holds(folder: str, other: str) -> bool:
    return f"{other}/".startswith(f"{folder}/")


def _change_of_a_file(dice: random.Random, one: Machine) -> Act | None:
    files, folders = one.files(), one.folders()
    new = _below(dice.choice([*folders, ""]), dice.choice(NAMES))
    kind = dice.choice(["rename", "link", "unlink", "sync"])
    if not files or (kind in {"rename", "link"} and one.host.parts.tree.resolve(new) is not None):
        return None
    file = dice.choice(files)
    changes: dict[str, Act] = {
        "rename": lambda machine: machine.host.rename(file, new),
        "link": lambda machine: machine.host.link(file, new),
        "unlink": lambda machine: machine.host.unlink(file),
        "sync": lambda machine: machine.host.parts.intents.planner.reupload(machine.host.stat(file).ino),
    }
    return changes[kind]


def _change_of_a_folder(dice: random.Random, one: Machine) -> Act | None:
    files, folders = one.files(), one.folders()
    place = _below(dice.choice(["", *folders]), dice.choice([*NAMES, *TOPS]))
    is_free = one.host.parts.tree.resolve(place) is None
    kind = dice.choice(["make", "rename", "rename", "rename", "exchange"])
    if kind == "make":
        return (lambda machine: machine.host.mkdir(place)) if is_free else None
    folder = dice.choice(folders)
    if kind == "rename":
        return (lambda machine: machine.host.rename(folder, place)) if is_free and not _holds(folder, place) else None
    other = dice.choice([*folders, *files])
    if _holds(folder, other) or _holds(other, folder):
        return None
    return lambda machine: machine.host.rename(folder, other, RENAME_EXCHANGE)


async def _written(dice: random.Random, both: tuple[Machine, Machine], number: int) -> None:
    """Write a file, new or not; half of them are confirmed at once."""
    files, folders = both[0].files(), both[0].folders()
    new = _below(dice.choice([*folders, ""]), dice.choice(NAMES))
    path = new if not files or dice.random() < 0.7 else dice.choice(files)
    inode = both[0].host.parts.tree.resolve(path)
    if inode is not None and inode.is_dir:
        return
    is_confirmed = dice.random() < 0.6
    for machine in both:
        await machine.host.write(path, b"%d" % number)
        if is_confirmed and machine.host.intent(path) is not None:
            await machine.host.confirm(path, f"file_{number}")


async def _restarted(folder: Path, server: Server, stack: AsyncExitStack, old: Machine, name: str) -> Machine:
    """The machine after it was killed: it goes on from the rows."""
    old.host.kill_copy(name)
    host = await stack.enter_async_context(
        running(folder, server, state=name, working=False, durability="local", reupload_max_files=3)
    )
    return Machine(host, old.at_once)


async def _lives_the_same(folder: Path, server: Server, seed: int) -> None:
    dice = random.Random(seed)
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(
                running(folder, server, state=name, working=False, durability="local", reupload_max_files=3)
            )
            for name in ("direct", "stepwise")
        ]
        direct, stepwise = Machine(hosts[0], EVERYTHING), Machine(hosts[1], 0)
        for top in TOPS:
            for machine in (direct, stepwise):
                machine.host.mkdir(top)
        for number in range(dice.randrange(10, 60)):
            if dice.random() < 0.4:
                await _written(dice, (direct, stepwise), number)
            elif act := dice.choice([_change_of_a_file, _change_of_a_folder])(dice, direct):
                act(direct)
                act(stepwise)
            stepwise.follow(dice.choice([0, 0, 1, 2]))
            if dice.random() < 0.05:
                direct = await _restarted(folder, server, stack, direct, f"direct{number}")
                stepwise = await _restarted(folder, server, stack, stepwise, f"stepwise{number}")
            await stepwise.host.parts.sweeper.sweep()
            assert await check_state(stepwise.host.parts, Scope(read=False)) == []
        stepwise.follow()
        assert stepwise.summary() == direct.summary()
        assert await check_state(stepwise.host.parts) == []


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry a step."""
    monkeypatch.setattr(renamed_folders, "_A_STEP", 1)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("lives", sample(3, 300))
async def test_w7_in_steps_files_follow_renamed_folders_as_at_once(
    lives: int, tmp_path: Path, server: Server, clock: Clock
) -> None:
    for seed in range(lives):
        await _lives_the_same(tmp_path / str(seed), server, seed)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("is_synced", [False, True])
async def test_w7_a_file_that_was_renamed_by_itself_since_has_followed_already(
    is_synced: bool, tmp_path: Path, server: Server, clock: Clock
) -> None:
    """The folder has too many files to be uploaded again, the one file has not."""
    async with running(tmp_path, server, working=False, durability="local", reupload_max_files=1) as host:
        machine = Machine(host, 0)
        host.mkdir("old")
        for name in ("a", "b", "c"):
            await host.write(f"old/{name}", b"x")
            await host.confirm(f"old/{name}", f"file_{name}")
        host.rename("old", "new")
        if is_synced:
            host.parts.intents.planner.reupload(host.stat("new/c").ino)
        else:
            host.rename("new/c", "new/d")
        machine.follow()
        (intent,) = host.pending()
        assert (intent.kind, intent.ino) == (IntentKind.REUPLOAD, host.stat("new/c" if is_synced else "new/d").ino)
