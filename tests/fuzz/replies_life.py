"""The life that odd replies meet: a user who writes, renames, removes and reads, others who do the same elsewhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import trio

from tests.fuzz.oracle import Ledger, tried
from tests.fuzz.world import POLL_S, World
from tests.parts import Host

# Of the others, downloadable and of several chunks.
DEEP = b"".join(b"%08d" % number for number in range(40_000))
THEIRS = b"what the code execution tool made\n" * 90


@dataclass
class Scene:
    """What a step works with."""

    world: World
    host: Host
    ledger: Ledger
    chance: random.Random
    # Sentences about what a call returned and must not return.
    notes: list[str] = field(default_factory=list)
    # Replies may say that a file of others has other bytes, or another length.
    contents_are_odd: bool = False

    async def write(self, path: str, data: bytes) -> None:
        """`echo data > path`."""
        bound = await tried(lambda: self.host.stat(path).file_id)
        self.ledger.give_up(bound if isinstance(bound, str) else None)
        result = await tried(lambda: self.host.write(path, data))
        if isinstance(result, Exception):
            self.ledger.may_have_written(path, data)
        else:
            self.ledger.wrote(path, data)

    async def unlink(self, path: str) -> None:
        """`rm path`."""
        bound = await tried(lambda: self.host.stat(path).file_id)
        self.ledger.give_up(bound if isinstance(bound, str) else None)
        if isinstance(await tried(lambda: self.host.unlink(path)), Exception):
            self.ledger.may_have_removed(path)
        else:
            self.ledger.removed(path)

    async def rename(self, old: str, new: str) -> None:
        """`mv old new`."""
        bound = await tried(lambda: self.host.stat(new).file_id)
        self.ledger.give_up(bound if isinstance(bound, str) else None)
        if not isinstance(await tried(lambda: self.host.rename(old, new)), Exception):
            self.ledger.renamed(old, new)

    async def read(self, path: str) -> None:
        """`cat path`."""
        data = await tried(lambda: self.host.read(path))
        if isinstance(data, Exception):
            return
        if (promised := self.ledger.promised.get(path)) is not None:
            if data not in promised:
                self.notes.append(f"lost: {path} read {data[:30]!r} while replies were odd")
            return
        true = next((theirs.data for theirs in self.ledger.others.values() if theirs.filename == path), data)
        if data != true and not self.contents_are_odd:
            self.notes.append(f"wrong bytes: {path} read {len(data)} bytes, {data[:30]!r}, of {len(true)}")


def furnish(world: World, ledger: Ledger) -> None:
    """Put the files of others there."""
    store = world.server.store
    ledger.others_file(store.add_generated("theirs.txt", THEIRS), THEIRS)
    ledger.others_file(store.add_generated("docs／deep.bin", DEEP), DEEP)
    ledger.others_file(store.add_generated("gone.bin", THEIRS), THEIRS)
    ledger.others_file(store.add("uploaded.txt", b"somebody's", downloadable=False), b"somebody's")
    ledger.others_file(store.add("unwanted.txt", b"to be removed", downloadable=False), b"to be removed")
    ledger.others_file(store.add_generated("expiring.txt", THEIRS[:50]), THEIRS[:50])


async def prepare(scene: Scene) -> None:
    """Make the files that the steps change, while all is well."""
    for name in ("kept.txt", "mine.txt", "moved.txt", "removed.txt"):
        await scene.write(name, f"what I wrote in {name}\n".encode())
    await scene.host.settled()
    await trio.sleep(31.0)


async def _create(scene: Scene) -> None:
    await scene.write("new.txt", b"a new file")


async def _create_in_folder(scene: Scene) -> None:
    if not isinstance(await tried(lambda: scene.host.mkdir("folder")), Exception):
        await scene.write("folder/a: b?.txt", b"in a folder")


async def _replace(scene: Scene) -> None:
    await scene.write("mine.txt", b"another version of mine")


async def _save_by_rename(scene: Scene) -> None:
    await scene.write("mine.txt.tmp", b"saved as editors do")
    await scene.rename("mine.txt.tmp", "mine.txt")


async def _rename(scene: Scene) -> None:
    await scene.rename("moved.txt", "moved-2.txt")
    await trio.sleep(35.0)


async def _unlink(scene: Scene) -> None:
    await scene.unlink("removed.txt")


async def _replace_theirs(scene: Scene) -> None:
    await scene.write("uploaded.txt", b"mine in the place of theirs")


async def _unlink_theirs(scene: Scene) -> None:
    await scene.unlink("unwanted.txt")


async def _read_mine(scene: Scene) -> None:
    await scene.read("kept.txt")
    await scene.read("mine.txt")


async def _read_theirs(scene: Scene) -> None:
    await scene.read("theirs.txt")


async def _read_deep(scene: Scene) -> None:
    await scene.read("docs/deep.bin")


async def _others_add(scene: Scene) -> None:
    scene.ledger.others_file(scene.world.server.store.add_generated("fresh.txt", b"fresh"), b"fresh")
    await trio.sleep(POLL_S + 1)
    await scene.read("fresh.txt")


async def _others_delete(scene: Scene) -> None:
    [file_id] = [file_id for file_id, theirs in scene.ledger.others.items() if theirs.filename == "gone.bin"]
    scene.world.server.store.delete(file_id)
    scene.ledger.others_deleted(file_id)
    await tried(lambda: scene.host.read("gone.bin"))
    await trio.sleep(8.0)


async def _write_and_remove(scene: Scene) -> None:
    await scene.write("short-lived.txt", b"soon gone")
    await scene.unlink("short-lived.txt")


async def _look(scene: Scene) -> None:
    for folder in ("", "docs", "folder"):
        await tried(lambda folder=folder: scene.host.ls(folder))
    scene.host.parts.refresh.note_use()
    await trio.sleep(POLL_S + 1)


async def _wait(scene: Scene) -> None:
    await trio.sleep(scene.chance.choice((1.0, 20.0, 70.0)))


STEPS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    _create, _create_in_folder, _replace, _save_by_rename, _rename, _unlink, _replace_theirs, _unlink_theirs,
    _read_mine, _read_theirs, _read_deep, _others_add, _others_delete, _write_and_remove, _look, _wait,
)  # fmt: skip
# At least these, so that each kind of request is sent.
NEEDED = {
    "upload": (_create, _replace), "delete": (_unlink, _unlink_theirs), "content": (_read_theirs, _read_deep),
    "metadata": (_others_delete, _look), "list": (_others_add, _look), "other": (),
}  # fmt: skip


async def live(scene: Scene, needed: set[str], most: int) -> None:
    """Take the steps that send requests of the `needed` kinds, and others up to `most`, in an order by chance."""
    steps = [step for op in sorted(needed) for step in NEEDED[op]]
    rest = [step for step in STEPS if step not in steps]
    steps += scene.chance.sample(rest, max(0, most - len(steps)))
    scene.chance.shuffle(steps)
    for step in steps:
        await step(scene)
    await trio.sleep(10.0)
