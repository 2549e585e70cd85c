"""A life of a state folder, kept as copies of it at many moments, and what its user may rely on at each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from remotefs.server.queries import ListQuery
from remotefs.server.records import FileRecord
from remotefs.vfs.handles import OpenFile
from tests.fuzz.calls_lives import Slow, as_configured
from tests.fuzz.calls_user import User, content
from tests.fuzz.oracle import Ledger
from tests.fuzz.world import World
from tests.parts import Host

SMALL, LARGE, OTHER = content(700, 1), content(300_000, 2), content(5_000, 3)
OPEN = content(300, 14)
GENERATED, LARGER = content(4_000, 15), content(200_000, 16)


@dataclass
class Moment:
    """Copies of a state folder and of the service's, and what is true of them.

    `now_s` is the virtual time. `promised` are contents by path; `versions` all that any path ever held. `unlinked` are
    ids that the user removed, `replaced` the paths in whose favour ids may go. `kept` are contents that are in the trash.
    """

    name: str
    folder: Path
    now_s: float
    promised: dict[str, bytes]
    versions: set[bytes]
    unlinked: set[str]
    replaced: dict[str, str]
    kept: set[bytes]
    # What each file of the folder is about: names of ids are different each time, so a case cannot have them.
    roles: dict[str, Path] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """Return the state folder."""
        return self.folder / "state"

    @property
    def server(self) -> Path:
        """Return the folder of the service."""
        return self.folder / "server"


@contextmanager
def virtual_time(world: World) -> Iterator[None]:
    """Let the product, and the times of staged files, go by the clock of the world: the kernel's is another."""

    def now_ns() -> int:
        return int((world.true_s + world.wall_ahead_s) * 1e9)

    def stamped(call: Callable[..., Any]) -> Callable[..., Any]:
        def stamping(descriptor: int, *args: Any) -> Any:
            result = call(descriptor, *args)
            if "/staging/" in os.readlink(f"/proc/self/fd/{descriptor}"):
                os.utime(descriptor, ns=(now_ns(), now_ns()))
            return result

        return stamping

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", now_ns)
        patch.setattr(time, "time", lambda: now_ns() / 1e9)
        patch.setattr(os, "pwrite", stamped(os.pwrite))
        patch.setattr(os, "ftruncate", stamped(os.ftruncate))
        yield


class Keeper:
    """Keeps moments of one life below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.moments: list[Moment] = []
        self._versions: set[bytes] = {b""}
        self._unlinked: set[str] = set()
        self._replaced: dict[str, str] = {}
        self.kept: set[bytes] = set()

    def knows(self, *contents: bytes) -> None:
        """A file holds, or held, these."""
        self._versions.update(contents)

    def unlinks(self, file_id: str | None) -> None:
        """The user removes the file that is bound to that id."""
        if file_id is not None:
            self._unlinked.add(file_id)

    def replaces(self, file_id: str | None, path: str) -> None:
        """A file gets another content: the id may go once the service has that."""
        if file_id is not None:
            self._replaced[file_id] = path

    def keep(self, name: str, world: World, ledger: Ledger, state: Path) -> None:
        """Copy both folders as they are now, as a kill would leave them."""
        folder = self._folder / name
        shutil.copytree(state, folder / "state")
        shutil.copytree(world.folder / "server", folder / "server")
        promised = {path: one for path, some in ledger.promised.items() if (one := _single(some)) is not None}
        self.knows(*(one for some in ledger.promised.values() for one in some if one is not None))
        moment = Moment(
            name, folder, world.clock.now_s, promised, set(self._versions), set(self._unlinked),
            dict(self._replaced), set(self.kept),
        )  # fmt: skip
        names = {record.id: record.filename for record in _records(world)}
        moment.roles = dict(sorted(_roles(moment.state, names)))
        self.moments.append(moment)


def _single(contents: set[bytes | None]) -> bytes | None:
    return next(iter(contents)) if len(contents) == 1 else None


def _records(world: World) -> list[FileRecord]:
    return list(world.server.store.list(ListQuery(limit=1000)).records)


def _roles(state: Path, names: dict[str, str]) -> list[tuple[str, Path]]:
    """Return the files of a state folder by names that are the same in each run."""
    found: list[tuple[str, Path]] = []
    numbers: dict[str, int] = {}
    for path in sorted(path for path in state.rglob("*") if path.is_file()):
        inside = path.relative_to(state)
        if inside.parts[0] == "content":
            file_id, dot, kind = path.name.partition(".")
            stem = f"content/{names.get(file_id, 'gone')}"
            key = f"{stem}{dot}{kind}"
            numbers[key] = numbers.get(key, 0) + 1
            found.append((f"{key}#{numbers[key]}" if numbers[key] > 1 else key, inside))
        else:
            found.append((str(inside), inside))
    return found


async def live(world: World, keeper: Keeper) -> None:
    """Live, and keep the moments."""
    ledger = Ledger()
    store = world.server.store
    keeper.knows(SMALL, LARGE, OTHER)
    for name, data in (("theirs", b"theirs, unreadable"), ("gen1", LARGER), ("gen2", GENERATED)):
        keeper.knows(data)
        ledger.others_file(store.add(name, data, downloadable=name != "theirs"), data)
    async with world.mounted(change=as_configured, tasks=False) as host:
        user = User(host, ledger)
        await host.walk()
        ledger.promised |= {"gen1": {LARGER}, "gen2": {GENERATED}}
        await user.mkdir("d")
        held = world.server.script.add(Slow(36_000.0), op="upload", times=None)
        half_open = await _write_unsent(user, keeper)
        keeper.keep("written", world, ledger, host.state_dir)
        world.server.script.remove(held)
        await _sent(host, but=1)
        keeper.keep("sent", world, ledger, host.state_dir)
        await user.close("open", half_open, OPEN)
        await host.settled()
        for path in ("gen1", "gen2", "d/b"):
            await user.read(path)
        await host.walk()
        keeper.keep("settled", world, ledger, host.state_dir)
        held = world.server.script.add(Slow(36_000.0), op="upload", times=None)
        await _change(user, keeper)
        keeper.keep("changed", world, ledger, host.state_dir)
        world.server.script.remove(held)
        await host.settled()
        await _vanish(user, keeper)
        keeper.keep("trash", world, ledger, host.state_dir)
        await trio.to_thread.run_sync(host.parts.copies.make)
        await user.write("d/late", content(800, 9))
        keeper.replaces(host.stat("large").file_id, "large")
        await user.edit("large", 5, b"late")
        keeper.keep("copied", world, ledger, host.state_dir)
        await host.settled()
        await host.parts.promoter.finish()
        host.parts.tree.save_notes()
        await host.parts.database.durable()
        host.parts.content.close()
        copies, state = host.parts.copies, host.state_dir
    copies.make_of_closed()
    keeper.keep("ended", world, ledger, state)
    async with world.mounted(change=as_configured, tasks=False) as host:
        user = User(host, ledger)
        world.server.script.add(Slow(36_000.0), op="upload", times=None)
        await user.write("d/next", content(900, 11))
        keeper.replaces(host.stat("a").file_id, "a")
        await user.write("a", content(950, 12))
        keeper.keep("next", world, ledger, host.state_dir)


async def _sent(host: Host, *, but: int) -> None:
    """Return once all is with the service but so many files that are open."""
    for _ in range(1000):
        if host.parts.journal.count() <= but:
            return
        host.make_due()
        await trio.sleep(1.0)
    raise AssertionError(host.pending())


async def _write_unsent(user: User, keeper: Keeper) -> OpenFile:
    for path, data in (
        ("a", SMALL),
        ("large", LARGE),
        ("d/b", OTHER),
        ("c", content(70_000, 5)),
        ("v", content(90, 6)),
    ):
        keeper.knows(data)
        await user.write(path, data)
    handle = await user.open("half", os.O_RDWR | os.O_CREAT)
    assert handle is not None
    half = content(4700, 13)
    await user.put("half", handle, 0, half)
    await user.sync("half", handle, half)
    await user.close("half", handle, half)
    handle = await user.open("open", os.O_RDWR | os.O_CREAT)
    assert handle is not None
    await user.put("open", handle, 0, OPEN)
    await user.sync("open", handle, OPEN)
    return handle


async def _change(user: User, keeper: Keeper) -> None:
    """Edits, renames and removals whose uploads and deletes are pending."""
    host: Host = user.host
    keeper.replaces(host.stat("large").file_id, "large")
    await user.edit("large", 100_000, b"edited")
    keeper.replaces(host.stat("a").file_id, "a")
    await user.write("a", content(1200, 7))
    keeper.replaces(host.stat("c").file_id, "d/moved")
    await user.rename("c", "d/moved")
    keeper.unlinks(host.stat("d/b").file_id)
    await user.unlink("d/b")
    await user.write("tmp", content(650, 8))
    keeper.replaces(host.stat("half").file_id, "half")
    await user.rename("tmp", "half")
    await user.rename("gen2", "alias")
    await trio.sleep(3.0)


async def _vanish(user: User, keeper: Keeper) -> None:
    """Others delete a file of ours: it goes to the trash."""
    host: Host = user.host
    await host.parts.promoter.finish()
    keeper.kept.add(content(90, 6))
    host.server.store.delete(host.id("v"))
    user.ledger.removed("v")
    for _ in range(3):
        await host.walk()
        await trio.sleep(40.0)
    assert host.parts.trash.entries(), "it is in the trash"
