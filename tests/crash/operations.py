"""What a user does in a scenario, and what may be seen of it afterwards if it was cut short.

An `Operation` is done by a victim (`do`), and understood by the judge (`passes`): a `Tree` before it leads to one of the
trees that a crash in the middle may leave, the last of them being its full effect.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from remotefs.control.messages.trash import RestoreParams
from remotefs.errors import Unreachable
from remotefs.vfs.attributes import AttributeChange
from tests.commands import commands, quietly
from tests.faults import KEY
from tests.parts import Host

# What a user sees: the content of each file by its path; a folder's path ends in a slash.
Tree = dict[str, bytes]
_EXCHANGE = 2


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that tell by themselves where they belong: `seed` and position."""
    return b"".join(b"%d:%d\n" % (seed, position) for position in range(size // 6 + 1))[:size]


@dataclass
class Scene:
    """Where operations are done: a mount's parts, and the service as others use it."""

    host: Host
    url: str
    held: dict[str, int] = field(default_factory=dict)

    def call(self, method: str, path: str, **options: Any) -> Any:
        """A request of somebody else; blocking, for the server is in another process."""
        reply = httpx.request(method, f"{self.url}/v1/files{path}", headers={"x-api-key": KEY}, **options)
        return reply.raise_for_status().json()


class Operation:
    """One step of a user; `counts` is whether its end is an acknowledgement."""

    async def do(self, scene: Scene) -> None:
        raise NotImplementedError

    def passes(self, tree: Tree) -> Iterator[Tree]:
        """The trees that may be found after it was begun; its full effect last."""
        yield tree


@dataclass(frozen=True)
class Arm(Operation):
    """From here on steps count: what was before is only how things stand."""

    async def do(self, scene: Scene) -> None:
        pass


@dataclass(frozen=True)
class Write(Operation):
    """`echo > path`."""

    path: str
    data: bytes

    async def do(self, scene: Scene) -> None:
        await scene.host.write(self.path, self.data)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {self.path: b""}
        yield tree | {self.path: self.data}


@dataclass(frozen=True)
class Edit(Operation):
    """A write into the middle of a file that is there."""

    path: str
    offset: int
    data: bytes

    async def do(self, scene: Scene) -> None:
        host = scene.host
        handle = await host.open(self.path, os.O_RDWR)
        try:
            await host.fs.files.write(handle.fh, self.offset, self.data)
        finally:
            await host.close(handle)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        before = tree[self.path]
        after = before[: self.offset] + self.data + before[self.offset + len(self.data) :]
        yield tree | {self.path: after}


@dataclass(frozen=True)
class Sync(Operation):
    """Open, write, fsync, and leave it open: an fsync promises as much as a close."""

    path: str
    data: bytes

    async def do(self, scene: Scene) -> None:
        host = scene.host
        handle = await host.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        scene.held[self.path] = handle.fh
        await host.fs.files.write(handle.fh, 0, self.data)
        await host.fs.files.fsync(handle.fh)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        return Write(self.path, self.data).passes(tree)


@dataclass(frozen=True)
class Append(Operation):
    """More through the handle of a `Sync`, of that path or of the one that it had then, and its close."""

    path: str
    data: bytes
    opened_as: str | None = None

    async def do(self, scene: Scene) -> None:
        files = scene.host.fs.files
        fh = scene.held.pop(self.opened_as or self.path)
        await files.write(fh, scene.host.stat(self.path).size, self.data)
        await files.flush(fh)
        await files.release(fh)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {self.path: tree[self.path] + self.data}


@dataclass(frozen=True)
class Overtake(Operation):
    """Append and close while the upload of what was there is under way; `unsent`: and nothing is sent after that."""

    path: str
    data: bytes
    unsent: bool = False

    async def do(self, scene: Scene) -> None:
        host = scene.host
        ino = host.stat(self.path).ino
        while ino not in host.parts.in_flight:
            await trio.lowlevel.checkpoint()
        if self.unsent:
            host.parts.connectivity.down(Unreachable("no route"))
        handle = await host.open(self.path, os.O_WRONLY)
        try:
            await host.fs.files.write(handle.fh, host.stat(self.path).size, self.data)
        finally:
            await host.close(handle)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {self.path: tree[self.path] + self.data}


@dataclass(frozen=True)
class WriteUnsent(Write):
    """`echo > path` over what an `Overtake` left unsent, as soon as it could be sent."""

    async def do(self, scene: Scene) -> None:
        scene.host.parts.connectivity.up()
        await super().do(scene)


@dataclass(frozen=True)
class Truncate(Operation):
    """truncate(2)."""

    path: str
    size: int

    async def do(self, scene: Scene) -> None:
        await scene.host.fs.attributes.setattr(scene.host.stat(self.path).ino, AttributeChange(size=self.size), None)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        # While it is cut, the staged copy of what stays has the size that it will have or the one that is kept.
        cut = tree[self.path][: self.size]
        yield tree | {self.path: cut}
        yield tree | {self.path: cut.ljust(self.size, b"\0")}


@dataclass(frozen=True)
class Rename(Operation):
    """rename(2), of a file or a folder."""

    old: str
    new: str

    async def do(self, scene: Scene) -> None:
        scene.host.rename(self.old, self.new)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield {
            path: data for path, data in tree.items() if not _is_at(path, self.old) and not _is_at(path, self.new)
        } | {self.new + path.removeprefix(self.old): data for path, data in tree.items() if _is_at(path, self.old)}


@dataclass(frozen=True)
class Exchange(Operation):
    """renameat2(2) with RENAME_EXCHANGE, of files."""

    one: str
    other: str

    async def do(self, scene: Scene) -> None:
        scene.host.rename(self.one, self.other, _EXCHANGE)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {self.one: tree[self.other], self.other: tree[self.one]}


@dataclass(frozen=True)
class Link(Operation):
    """link(2)."""

    old: str
    new: str

    async def do(self, scene: Scene) -> None:
        scene.host.link(self.old, self.new)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {self.new: tree[self.old]}


@dataclass(frozen=True)
class Unlink(Operation):
    """unlink(2)."""

    path: str

    async def do(self, scene: Scene) -> None:
        scene.host.unlink(self.path)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield _without(tree, self.path)


@dataclass(frozen=True)
class UnlinkWhileOpen(Operation):
    """Open, unlink, write and read on, close."""

    path: str
    data: bytes

    async def do(self, scene: Scene) -> None:
        host = scene.host
        handle = await host.open(self.path, os.O_RDWR)
        host.unlink(self.path)
        await host.fs.files.write(handle.fh, 0, self.data)
        assert await host.fs.files.read(handle.fh, 0, len(self.data)) == self.data
        await host.close(handle)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield _without(tree, self.path)


@dataclass(frozen=True)
class MakeFolder(Operation):
    """mkdir(2)."""

    path: str

    async def do(self, scene: Scene) -> None:
        scene.host.mkdir(self.path)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {f"{self.path}/": b""}


@dataclass(frozen=True)
class RemoveFolder(Operation):
    """rmdir(2)."""

    path: str

    async def do(self, scene: Scene) -> None:
        scene.host.fs.namespace.rmdir(*scene.host._place(self.path))

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield _without(tree, f"{self.path}/")


@dataclass(frozen=True)
class Read(Operation):
    """`cat path`, where the bytes come from the service."""

    path: str

    async def do(self, scene: Scene) -> None:
        await scene.host.read(self.path)


@dataclass(frozen=True)
class Settle(Operation):
    """All that waits for its time has come, and is awaited."""

    async def do(self, scene: Scene) -> None:
        await scene.host.settled()


@dataclass(frozen=True)
class Drain(Operation):
    """What `remotefs umount` waits for."""

    async def do(self, scene: Scene) -> None:
        assert not await scene.host.parts.drainer.drain(math.inf)


@dataclass(frozen=True)
class Walk(Operation):
    """A complete listing: from its begin on, `found` may be there and `gone` may not."""

    found: Sequence[tuple[str, bytes]] = ()
    gone: Sequence[str] = ()

    async def do(self, scene: Scene) -> None:
        await scene.host.walk()

    def passes(self, tree: Tree) -> Iterator[Tree]:
        # The judge has listed twice before it looks, so there is but one outcome.
        yield {path: data for path, data in tree.items() if path not in self.gone} | dict(self.found)


@dataclass(frozen=True)
class Poll(Walk):
    """The same by what a running mount does every few seconds."""

    async def do(self, scene: Scene) -> None:
        await scene.host.parts.connectivity.watch(scene.host.parts.listings.poll)


@dataclass(frozen=True)
class RemoveElsewhere(Operation):
    """Somebody else deletes what a path here is bound to."""

    path: str

    async def do(self, scene: Scene) -> None:
        scene.call("DELETE", f"/{scene.host.id(self.path)}")

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield _without(tree, self.path)


@dataclass(frozen=True)
class UploadElsewhere(Operation):
    """Somebody else makes a file; what it holds cannot be read here."""

    name: str
    data: bytes

    async def do(self, scene: Scene) -> None:
        scene.call("POST", "", files={"file": (self.name, self.data, "text/plain")})


@dataclass(frozen=True)
class Restore(Operation):
    """`remotefs trash restore`."""

    number: int
    path: str
    data: bytes

    async def do(self, scene: Scene) -> None:
        await commands(scene.host).trash.restore(RestoreParams(number=self.number, path=self.path), quietly)

    def passes(self, tree: Tree) -> Iterator[Tree]:
        yield tree
        yield tree | {f"{self.path.rpartition('/')[0]}/": b"", self.path: self.data}


def outcomes(operations: Sequence[Operation], begun: int, done: int, tree: Tree | None = None) -> list[Tree]:
    """What may be found when so many operations were begun and done: one more at most was under way."""
    tree = tree or {}
    for operation in operations[:done]:
        *_, tree = operation.passes(tree)
    return [tree] if begun == done else list(operations[done].passes(tree))


def _is_at(path: str, place: str) -> bool:
    return path == place or path.startswith(f"{place}/")


def _without(tree: Tree, path: str) -> Tree:
    return {name: data for name, data in tree.items() if name != path}
