"""Random work on two or three machines at once: in the end all have the same tree, and nothing of it is lost (X3, X4)."""

from __future__ import annotations

import random
import stat
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from remotefs.errors import RemotefsError
from remotefs.store.records import Inode
from tests.data.share.test_attributes import chattr, exchanged, tree
from tests.data.share.test_uploads import machine, plug, unplug
from tests.faults import FaultyServer
from tests.parts import Host

Server = FaultyServer
Clock = trio.abc.Clock
_FOLDERS = ("", "d", "d/e", "f")
_NAMES = ("a", "b", "c")
_STEPS = 25


class Work:
    """Random calls of programs; what cannot be is an error that nobody minds."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._count = 0
        self.told: list[str] = []

    async def step(self, number: int, host: Host) -> None:
        """Make one call on a machine."""
        kind = self._chance.choice(
            ("write", "write", "mkdir", "mkdir", "rmdir", "symlink", "pipe", "chmod", "touch", "xattr", "rename", "unlink")
        )  # fmt: skip
        path, other = self._path(), self._path()
        self.told.append(f"{number} {kind} {path} {other}")
        try:
            await self._call(host, kind, path, other)
        except RemotefsError as error:
            self.told[-1] += f": {type(error).__name__}"

    def _path(self) -> str:
        folder, name = self._chance.choice(_FOLDERS), self._chance.choice((*_NAMES, "d", "e", "f"))
        return f"{folder}/{name}" if folder else name

    async def _call(self, host: Host, kind: str, path: str, other: str) -> None:
        self._count += 1
        namespace, (parent, name) = host.fs.namespace, host._place(path)
        match kind:
            case "write" if not self._is_special(host, path):
                await host.write(path, f"{path} {self._count}".encode())
            case "mkdir" | "symlink" | "pipe":
                self._make(host, kind, path, other)
            case "rmdir":
                namespace.rmdir(parent, name)
            case "chmod":
                await chattr(host, path, mode=self._chance.choice((0o600, 0o640, 0o755)))
            case "touch":
                await chattr(host, path, mtime_ns=1_000_000_000 * self._count)
            case "xattr":
                host.fs.xattrs.setxattr(host.stat(path).ino, b"user.note", str(self._count).encode())
            case "rename":
                host.rename(path, other)
            case "unlink":
                host.unlink(path)

    def _is_special(self, host: Host, path: str) -> bool:
        """Return whether the kernel would not open a file of the tree at a path."""
        inode = host.parts.tree.resolve(path)
        return inode is not None and not inode.is_file

    def _make(self, host: Host, kind: str, path: str, other: str) -> None:
        namespace, (parent, name) = host.fs.namespace, host._place(path)
        if kind == "mkdir":
            host.mkdir(path)
        elif kind == "symlink":
            namespace.symlink(parent, name, other.encode(), host.user)
        else:
            namespace.mknod(parent, name, stat.S_IFIFO | 0o600, 0, host.user)


async def run(tmp_path: Path, server: Server, folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    work = Work(seed)
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(machine(tmp_path, server, folder, f"m{number}"))
            for number in range(chance.choice((2, 2, 3)))
        ]
        for path in _FOLDERS[1:]:
            hosts[0].mkdir(path)
        await exchanged(*hosts)
        for _ in range(_STEPS):
            number = chance.randrange(len(hosts))
            await work.step(number, hosts[number])
            if chance.random() < 0.3:
                await trio.sleep(chance.choice((0.5, 8.0)))
            if chance.random() < 0.1:
                await hosts[chance.randrange(len(hosts))].walk()
            if chance.random() < 0.04:
                unplug(folder)
                await trio.sleep(20.0)
                plug(folder)
        for host in hosts:
            await host.until(lambda host=host: host.parts.shared.is_up)  # type: ignore[misc] - bound at once
        await exchanged(*hosts)
        await exchanged(*hosts)
        trees = [tree(host) for host in hosts]
        for host in hosts:
            shown = {inode.file_id for inode in _files(host)}
            hidden = [(record.id, record.filename) for record in host.stored() if record.id not in shown]
            assert not hidden, "\n".join([
                *work.told,
                f"seed {seed}, {host.state_dir.name} hides {hidden}",
                *tree(host),
            ])
            for path in (path for path, inode in _paths(host) if inode.size):
                await host.read(path)
        for number, other in enumerate(trees[1:], start=1):
            differ = {path for path in trees[0].keys() | other.keys() if trees[0].get(path) != other.get(path)}
            told = "\n".join(f"DIFFERS {path}: {trees[0].get(path)} but {other.get(path)}" for path in sorted(differ))
            assert not differ, "\n".join([*work.told, f"machines 0 and {number}, seed {seed}:", told])


def _paths(host: Host) -> list[tuple[str, Inode]]:
    found: list[tuple[str, Inode]] = []
    for entry in host.parts.tree.beneath(1):
        inode = host.parts.tree.get(entry.ino)
        if inode.is_file:
            found += [(path, inode) for path in host.parts.tree.paths_of(entry.ino)]
    return found


def _files(host: Host) -> list[Inode]:
    return [inode for _, inode in _paths(host)]


@pytest.mark.parametrize("seed", range(1))
async def test_all_machines_end_alike(tmp_path: Path, server: Server, folder: Path, clock: Clock, seed: int) -> None:
    await run(tmp_path, server, folder, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 200))
async def test_all_machines_end_alike_after_much_more(
    tmp_path: Path, server: Server, folder: Path, clock: Clock, seed: int
) -> None:
    await run(tmp_path, server, folder, seed)
