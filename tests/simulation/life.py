"""A life as data: who does what, and what happens to them meanwhile. The seed of a life is all of it.

    life = life_of(17)          # users with their steps, and events
    repr(life)                  # a script that can be kept as a test

Steps and events are tuples of plain values. Each is possible at any moment (a step whose file is missing fails as a
system call does), so that some of them can be left out, and the rest is a life too.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.simulation.disk import Persistence, wishes

Step = tuple[Any, ...]
# (seconds since the beginning, what, arguments …)
Event = tuple[Any, ...]

FLAGS = ("r", "w", "rw", "append", "new", "trunc", "excl")
# The folders that each machine has at the beginning.
FIRST_FOLDERS = ("d", "d/e", "k")
_FOLDERS = ("", *FIRST_FOLDERS)
_NAMES = ("a", "b.txt", "c", "t.tmp", "lock~", ".DS_Store")
_SHARED = ("p", "q.txt", "s/r")
_SIZES = (0, 1, 100, 700, 4096, 5000, 9000, 20_000)
_PAUSES = (0.0, 0.0, 0.1, 0.7, 3.0, 9.0, 40.0, 200.0)
# The kinds of request that may be spoiled.
_OPS = ("upload", "upload", "list", "metadata", "content", "delete")
_REPLIES = (
    "lost reply",
    "dropped",
    "half body",
    "cut body",
    "429",
    "500",
    "529",
    "503 with a pause",
    "late",
    "late reply",
    "silence",
)
# Replies that cannot be, by the kind of request that they answer.
_ODD_REPLIES = {
    "upload": ("the id of another", "the name of another"),
    "list": ("nothing", "dated in the year 9999", "expired long ago", "named otherwise"),
    "metadata": ("expired long ago", "named otherwise"),
    "content": ("no bytes", "a page"),
    "delete": (),
}


@dataclass(frozen=True)
class User:
    """One program: its steps, one after the other, on one machine."""

    machine: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Life:
    """All that happens; `seed` orders the tasks and makes the ids."""

    seed: int
    users: tuple[User, ...]
    events: tuple[Event, ...] = ()
    machines: int = 1
    durability: str = "remote"
    # What one user uploads another can read.
    downloadable: bool = False
    # The machines share a store.
    store: bool = False

    def __repr__(self) -> str:
        users = "".join(f"        User({user.machine}, {_lines(user.steps)}),\n" for user in self.users)
        store = " store=True," * self.store
        return (
            f"Life(\n    seed={self.seed}, machines={self.machines}, durability={self.durability!r}, "
            f"downloadable={self.downloadable},{store}\n    users=(\n{users}    ),\n    events={_lines(self.events)},\n)"
        )


def _lines(steps: tuple[Any, ...]) -> str:
    return "(" + "".join(f"\n            {step!r}," for step in steps) + ")"


def life_of(seed: int) -> Life:
    """Return the life that a seed determines."""
    chance = random.Random(f"{seed}/life")
    machines = chance.choice((1, 1, 1, 2, 2, 3))
    users: list[User] = []
    for machine in range(machines):
        users += [
            User(machine, _steps(chance, machine, number, shared=machines > 1 or chance.random() < 0.3))
            for number in range(chance.choice((1, 2, 2, 3)))
        ]
    span_s = chance.choice((60.0, 300.0, 3000.0))
    return Life(
        seed, tuple(users), _events(chance, machines, span_s), machines,
        chance.choice(("remote", "remote", "local", "strict")), chance.random() < 0.4,
    )  # fmt: skip


# -- what users do


def _steps(chance: random.Random, machine: int, number: int, *, shared: bool) -> tuple[Step, ...]:
    maker = _Maker(chance, machine, number)
    most = chance.choice((6, 12, 20, 30))
    while len(maker.steps) < most:
        if shared and chance.random() < 0.4:
            maker.share()
        else:
            chance.choices(maker.habits, maker.weights)[0]()
        maker.steps.append(("sleep", chance.choice(_PAUSES)))
    return tuple(maker.steps)


class _Maker:
    """Makes the steps of one user. Descriptors have numbers of their own."""

    def __init__(self, chance: random.Random, machine: int, number: int) -> None:
        self._chance = chance
        self._machine = machine
        self._slots = [10 * number + one for one in range(3)]
        self._stamp = 1000 * (machine + 1) + 100 * number
        self.steps: list[Step] = []
        often: list[tuple[Callable[[], None], int]] = [
            (self._save, 6), (self._save_by_rename, 3), (self._edit, 4), (self._hold_open, 3), (self._go_on, 6),
            (self._rename, 5), (self._rename_folder, 3), (self._exchange, 1), (self._link, 2), (self._unlink, 4),
            (self._make_folder, 3), (self._remove_folder, 1), (self._remove_tree, 1), (self._symlink, 1),
            (self._truncate, 2), (self._mark, 1), (self._read, 3), (self._list, 1), (self._backup, 1), (self._churn, 1),
            (self._hide, 1),
        ]  # fmt: skip
        self.habits, self.weights = [habit for habit, _ in often], [weight for _, weight in often]

    def _path(self) -> str:
        folder = self._chance.choice(_FOLDERS)
        name = self._chance.choice(_NAMES)
        return f"{folder}/{name}" if folder else name

    def _folder(self) -> str:
        return self._chance.choice(_FOLDERS[1:])

    def _bytes(self, size: int | None = None) -> tuple[int, int]:
        self._stamp += 1
        return (self._chance.choice(_SIZES) if size is None else size), self._stamp

    def _add(self, *steps: Step) -> None:
        for step in steps:
            self.steps.append(step)
            if self._chance.random() < 0.15:
                self.steps.append(("sleep", self._chance.choice(_PAUSES)))

    def share(self) -> None:
        """Add a step on what all machines share."""
        chance, path = self._chance, self._chance.choice(_SHARED)
        what = chance.choice(("put", "put", "put", "patch", "drop", "move", "get", "list"))
        match what:
            case "put":
                self._add(("put", path, *self._bytes(chance.choice((20, 90, 600, 5000)))))
            case "patch":
                self._add(("patch", path, chance.choice((0, 5, 300)), *self._bytes(20)))
            case "move":
                self._add(("move", path, chance.choice(_SHARED)))
            case _:
                self._add((what, path))

    def _save(self) -> None:
        slot = self._chance.choice(self._slots)
        self._add(("open", slot, self._path(), "trunc"), ("write", slot, 0, *self._bytes()), ("close", slot))

    def _save_by_rename(self) -> None:
        slot, path = self._chance.choice(self._slots), self._path()
        self._add(("open", slot, f"{path}.tmp", "trunc"), ("write", slot, 0, *self._bytes()))
        self._add(
            *[("fsync", slot)] * (self._chance.random() < 0.5), ("close", slot), ("rename", f"{path}.tmp", path, 0)
        )

    def _backup(self) -> None:
        slot, path = self._chance.choice(self._slots), self._path()
        self._add(("rename", path, f"{path}~", 0), ("open", slot, path, "trunc"), ("write", slot, 0, *self._bytes()))
        self._add(("close", slot), ("unlink", f"{path}~"))

    def _edit(self) -> None:
        slot = self._chance.choice(self._slots)
        self._add(
            ("open", slot, self._path(), "rw"), ("write", slot, self._chance.choice((0, 50, 4000)), *self._bytes())
        )
        self._add(("close", slot))

    def _hold_open(self) -> None:
        slot = self._chance.choice(self._slots)
        self._add(("open", slot, self._path(), self._chance.choice(FLAGS)))

    def _go_on(self) -> None:
        slot, chance = self._chance.choice(self._slots), self._chance
        at = chance.choice((0, 0, 100, 4096, 10_000))
        self._add(
            chance.choice((
                ("write", slot, at, *self._bytes()), ("write", slot, at, *self._bytes()), ("read", slot, at, 5000),
                ("ftruncate", slot, chance.choice(_SIZES)), ("fsync", slot), ("close", slot), ("close", slot),
            ))
        )  # fmt: skip

    def _churn(self) -> None:
        slot, path = self._chance.choice(self._slots), self._path()
        self._add(("open", slot, path, "append"))
        for _ in range(self._chance.randint(2, 6)):
            self.steps += [("write", slot, 0, *self._bytes(300)), ("sleep", self._chance.choice((0.1, 1.0, 4.0)))]
            if self._chance.random() < 0.6:
                self.steps += [("close", slot), ("open", slot, path, "append")]
        self._add(("close", slot))

    def _hide(self) -> None:
        """Move a file to where it stays on its machine, just when it may be going out."""
        slot, path = self._chance.choice(self._slots), self._path()
        self.steps += [("open", slot, path, "trunc"), ("write", slot, 0, *self._bytes(700)), ("close", slot)]
        self.steps += [("sleep", self._chance.choice((0.0, 2.0, 2.001, 2.01))), ("rename", path, ".DS_Store", 0)]

    def _rename(self) -> None:
        self._add(("rename", self._path(), self._path(), self._chance.choice((0, 0, 0, 1))))

    def _rename_folder(self) -> None:
        self._add(("rename", self._folder(), self._chance.choice((self._folder(), "n", "d/n")), 0))

    def _exchange(self) -> None:
        self._add(("rename", self._path(), self._path(), 2))

    def _link(self) -> None:
        self._add(("link", self._path(), self._path()))

    def _unlink(self) -> None:
        self._add(("unlink", self._path()))

    def _make_folder(self) -> None:
        self._add(("mkdir", self._folder()))

    def _remove_folder(self) -> None:
        self._add(("rmdir", self._folder()))

    def _remove_tree(self) -> None:
        folder = self._folder()
        self._add(*(("unlink", f"{folder}/{name}") for name in _NAMES), ("rmdir", folder))

    def _symlink(self) -> None:
        self._add(("symlink", self._path(), "nowhere"))

    def _truncate(self) -> None:
        self._add(("truncate", self._path(), self._chance.choice(_SIZES)))

    def _mark(self) -> None:
        path = self._path()
        typed = ("settype", self._chance.choice((path, self._folder())), f"text/x-{self._stamp}")
        marks = (("setxattr", path, "k", b"v%d" % self._stamp), ("chmod", path, 0o640), typed)
        self._add(self._chance.choice(marks))

    def _read(self) -> None:
        slot = self._chance.choice(self._slots)
        self._add(("open", slot, self._path(), "r"), ("read", slot, 0, 30_000), ("close", slot))

    def _list(self) -> None:
        self._add(("list", self._chance.choice(_FOLDERS)))


# -- what happens


def _events(chance: random.Random, machines: int, span_s: float) -> tuple[Event, ...]:
    makers: list[tuple[Callable[[random.Random, int], Event], int]] = [
        (_spoil, 5), (_crash, 4), (_crash_at, 4), (_remount, 1), (_away, 2), (_upload, 2), (_remove, 1), (_disk, 1),
        (_wall, 1), (_lag, 1),
    ]  # fmt: skip
    # Each life has some of the kinds alone, so that not all of them are troubled by all.
    kinds = chance.sample(makers, chance.randint(1, 5))
    found: list[Event] = []
    for _ in range(chance.choice((0, 2, 4, 8))):
        [make] = chance.choices([maker for maker, _ in kinds], [weight for _, weight in kinds])
        found.append((round(chance.random() * span_s * chance.choice((0.05, 0.3, 1.0)), 2), *make(chance, machines)))
    return tuple(sorted(found, key=lambda event: float(event[0])))


def _spoil(chance: random.Random, _: int) -> Event:
    op = chance.choice(_OPS)
    reply = chance.choice((*_REPLIES, *2 * _ODD_REPLIES[op]))
    # One odd reply proves nothing; two that agree would.
    times = 1 if reply in _ODD_REPLIES[op] else chance.choice((1, 1, 2, 5))
    return "spoil", op, reply, chance.choice((0, 1, 3)), times


def _crash(chance: random.Random, machines: int) -> Event:
    steps = int(10 ** (chance.random() * 3))
    return "crash", chance.randrange(machines), "steps", steps, _persistence(chance), chance.choice((0.0, 5.0, 600.0))


def _crash_at(chance: random.Random, machines: int) -> Event:
    points = int(10 ** (chance.random() * 2))
    return "crash", chance.randrange(machines), "points", points, _persistence(chance), chance.choice((0.0, 5.0, 600.0))


def _persistence(chance: random.Random) -> str:
    return str(chance.choice((Persistence.ALL, Persistence.ALL, Persistence.ALL, *Persistence)))


def _remount(chance: random.Random, machines: int) -> Event:
    return "remount", chance.randrange(machines), chance.choice((0.0, 30.0, 4000.0))


def _away(chance: random.Random, machines: int) -> Event:
    return "away", chance.randrange(machines), chance.choice((0.5, 5.0, 30.0, 200.0))


def _upload(chance: random.Random, _: int) -> Event:
    name = chance.choice(("theirs", "o/theirs.bin", "shared/p", "shared/q.txt"))
    return (
        "upload",
        name,
        chance.choice((10, 600, 9000)),
        chance.randrange(10**6, 10**7),
        chance.random() < 0.6,
        chance.choice((0, 0, 3600)),
    )


def _remove(chance: random.Random, _: int) -> Event:
    return "remove", chance.randrange(5)


def _disk(chance: random.Random, machines: int) -> Event:
    return "disk", chance.randrange(machines), int(10 ** (chance.random() * 2)) - 1, chance.choice(wishes())


def _wall(chance: random.Random, _: int) -> Event:
    return "wall", chance.choice((-90_000.0, -100.0, 50.0, 7000.0, 400_000.0))


def _lag(chance: random.Random, _: int) -> Event:
    return "lag", chance.choice((2.0, 4.0)), chance.choice((30.0, 300.0))


def content(size: int, stamp: int) -> bytes:
    """Return bytes that tell where they belong: the stamp of a write and the position."""
    return b"".join(b"%d:%d\n" % (stamp, at) for at in range(size // 5 + 1))[:size]


__all__ = ["FLAGS", "Event", "Life", "Step", "User", "content", "life_of"]
