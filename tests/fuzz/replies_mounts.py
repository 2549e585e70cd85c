"""Odd replies before a real mount: the same oddities, met by programs through the kernel.

Time is real here, so only what ends at once is sent: no hangs, no drips, no pauses that a reply asks for.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from remotefs.control.messages.status import RETRY, PathParams
from remotefs.server.queries import ListQuery
from tests.faults import Action, Call, FaultyServer
from tests.fuzz import replies_wire as wire
from tests.fuzz.replies import systematic
from tests.mount.support import PATIENCE_S, Mounted, content_of, eventually, stored

CASES = 200
# Ways to answer that take their time, or fill the line for as long as somebody reads.
_SLOW = ("hang", "drip", "without end", "later", "bomb", "MiB")
# The mount waits, as it is told: for a minute or more, for another mount, or for a person.
_WAITS = (
    "anthropic-",
    "retry-after",
    "status 401",
    "status 402",
    "status 403",
    "status 429",
    "error 403",
    "error 429",
    "header date",
)
# What the mount believes, because an honest service may say it: that a file is gone, or whose it is.
_LIES = (
    " id",
    "page ",
    "expires_at",
    "created_at",
    "filename",
    "status 404",
    "error 404",
    "downloadable",
    "data ",
    "next_page",
    "has_more",
    "last_id",
    "size_bytes",
)


@dataclass
class RealWorld:
    """What an odd reply needs of its world."""

    server: FaultyServer
    notes: list[str] = field(default_factory=list)


@dataclass(eq=False)
class _Wire:
    """asyncio's transport, as odd replies use a wire."""

    transport: asyncio.Transport

    def write(self, content: bytes) -> None:
        self.transport.write(content)

    async def send(self, content: bytes) -> None:
        self.transport.write(content)
        await asyncio.sleep(0)

    async def flush(self) -> None:
        pass

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()


@dataclass
class OnRealWire(Action):
    """An odd reply on the wire of the server in its thread."""

    action: wire.OddReply

    async def __call__(self, call: Call) -> None:
        """Answer."""
        call.scope["state"] = {**call.scope["state"], "transport": _Wire(call.transport)}
        await self.action(call)


@cache
def oddities() -> tuple[tuple[str, str, object], ...]:
    """Return the oddities that a real mount is sent."""
    avoided = (*_SLOW, *_WAITS, *_LIES)
    return tuple(odd for odd in systematic() if odd[0] != "metadata" and not any(word in odd[1] for word in avoided))


def live(number: int, mount: Mounted, server: FaultyServer, theirs: dict[str, bytes]) -> list[str]:
    """Live through case `number` in a folder of its own, and return what is not as it has to be."""
    chance = random.Random(number)
    odds = [chance.choice(oddities()) for _ in range(chance.randint(1, 3))]
    folder = mount.path / f"case-{number}"
    folder.mkdir()
    (folder / "kept.txt").write_bytes(b"kept")
    (folder / "removed.txt").write_bytes(b"removed")
    (folder / "moved.txt").write_bytes(b"moved")
    world = RealWorld(server)
    for op, _, build in odds:
        server.script.add(OnRealWire(build(world)), op=op, nth=chance.randint(1, 2), times=chance.choice((1, 2)))
    found = _act(folder, theirs)
    server.script.clear()
    eventually(lambda: mount.status().online)
    # A refused file is sent again after a minute, or when a person says so.
    mount._control.call(RETRY, PathParams(path=""), timeout_s=PATIENCE_S)
    mount.flush()
    found += world.notes + _judged(mount, server, folder, theirs)
    return [f"case {number} ({'; '.join(f'{op} {what}' for op, what, _ in odds)}): {complaint}" for complaint in found]


def _act(folder: Path, theirs: dict[str, bytes]) -> list[str]:
    found = []
    for name, data in (("new.txt", b"a new file"), ("kept.txt", b"another version")):
        # A close tells what the service said, and the bytes are kept whatever it was (W2).
        with suppress(OSError):
            (folder / name).write_bytes(data)
    (folder / "removed.txt").unlink()
    (folder / "moved.txt").rename(folder / "moved-2.txt")
    for name, data in theirs.items():
        try:
            read = (folder.parent / name).read_bytes()
        except OSError:
            continue
        if read != data:
            found.append(f"wrong bytes: {name} read {len(read)} bytes of {len(data)}")
    if (read := (folder / "new.txt").read_bytes()) != b"a new file":
        found.append(f"lost: new.txt read {read!r}")
    return found


def _judged(mount: Mounted, server: FaultyServer, folder: Path, theirs: dict[str, bytes]) -> list[str]:
    wanted = {"new.txt": b"a new file", "kept.txt": b"another version", "moved-2.txt": b"moved"}
    found = []
    here = {path.name: path.read_bytes() for path in folder.iterdir() if "[" not in path.name}
    if here != wanted:
        found.append(f"lost: the folder has {here}")
    # A reply that was lost may have made a copy (W6).
    there = {path.partition(" [")[0]: data for path, data in _newest(server, folder.name).items()}
    if any(there.get(name) != data for name, data in wanted.items()):
        found.append(f"lost: the service has {there}")
    for name, data in theirs.items():
        if (read := _read_again(folder.parent / name)) != data:
            found.append(f"hidden: {name} reads as {read!r}"[:300])
    if failures := mount.status().failures:
        found.append(f"broken: {failures}")
    if "Traceback" in mount.log():
        found.append("broken: a traceback is in the log")
    return found


def _newest(server: FaultyServer, folder: str) -> dict[str, bytes]:
    try:
        return stored(server, folder)
    except AssertionError:
        records = server.store.list(ListQuery(limit=1000)).records
        prefix = f"{folder}\uff0f"
        newest = {r.filename.removeprefix(prefix): r for r in reversed(records) if r.filename.startswith(prefix)}
        return {name: content_of(server, record.id) for name, record in newest.items()}


def _read_again(path: Path) -> bytes | OSError:
    # A reply of another length gives the file another inode (R6): the next open finds it.
    error = OSError()
    for _ in range(4):
        try:
            return path.read_bytes()
        except OSError as failure:
            error = failure
    return error
