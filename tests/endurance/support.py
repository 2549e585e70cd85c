"""A service that fails in every way it can, writers who ask much of it, and what is counted afterwards.

Time runs SPEED times faster for the mount than for the server: what the contract says in seconds (a listing that lags
3 s, looks after 5 s and 15 s) passes in tenths of them. A fault's own seconds are those of the mount.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from remotefs.config import Config
from remotefs.errors import RemotefsError
from remotefs.server.queries import Cursor, ListQuery
from remotefs.server.records import FileRecord
from remotefs.store.records import NEVER_NS
from tests.faults import (
    Action,
    CutBody,
    Drop,
    FaultyServer,
    HalfBody,
    Hold,
    LingeringDelete,
    LostReply,
    Mixture,
    Reply,
    WrongLength,
    html_too_large,
    lagging_listing,
)
from tests.parts import Host, running

SPEED = 10.0
# What the vendor's guide says of session outputs, and what W6 counts on, in the mount's seconds.
LAG_S = 3.0
_REAL_LAG_S = LAG_S / SPEED
# Real seconds between two looks at what failed.
_LOOK_S = 0.1

# Where the service has not done it, and says so or not.
_REFUSALS: tuple[Action, ...] = (
    Reply(429, headers={"retry-after-ms": "500"}),
    Reply(429),
    Reply(500),
    Reply(503, headers={"retry-after": "1"}),
    Reply(504),
    Reply(529),
    Reply(401),
    Drop(),
)
UPLOAD_FAULTS: tuple[Action, ...] = (
    *_REFUSALS,
    html_too_large(),
    Drop(after_request_bytes=600),
    Hold(),
    # Done, and nobody was told.
    LostReply(),
    HalfBody(),
    CutBody(after_bytes=40),
    WrongLength(7),
)
LISTING_FAULTS: tuple[Action, ...] = (
    *_REFUSALS,
    HalfBody(),
    CutBody(after_bytes=100),
    WrongLength(-5),
    Reply(200, b"[]"),
)
DELETE_FAULTS: tuple[Action, ...] = (*_REFUSALS, LostReply(), HalfBody(), LingeringDelete(_REAL_LAG_S))


@pytest.fixture
def clock() -> trio.abc.Clock:
    """Faster than the server's, and it does not jump: both do something all the time."""
    return trio.testing.MockClock(rate=SPEED)


def spoil(
    server: FaultyServer, *, rate: float, seed: int, uploads: tuple[Action, ...] = UPLOAD_FAULTS
) -> list[Mixture]:
    """Spoil that part of all requests from now on; every listing lags.

    Each kind of request has a chance of its own: whether its n-th is spoiled depends on the seed alone, not on the order
    in which those of other kinds come.
    """
    mixtures = {
        "upload": Mixture(rate, uploads, random.Random(f"{seed} upload")),
        "list": Mixture(rate, LISTING_FAULTS, random.Random(f"{seed} list"), usual=lagging_listing(_REAL_LAG_S)),
        "delete": Mixture(rate, DELETE_FAULTS, random.Random(f"{seed} delete")),
    }
    for op, mixture in mixtures.items():
        server.script.add(mixture, op=op, times=None)
    return list(mixtures.values())


def impatient(config: Config) -> Config:
    """A request that hangs is given up after 20 s, two real ones; others' changes are looked for often."""
    service = msgspec.structs.replace(
        config.service, io_timeout_s=20.0, connect_timeout_s=20.0, request_deadline_s=60.0
    )
    refresh = msgspec.structs.replace(config.refresh, poll_in_use_s=5.0, poll_idle_s=5.0)
    return msgspec.structs.replace(config, service=service, refresh=refresh)


@asynccontextmanager
async def mounted(folder: Path, server: FaultyServer, *, state: str = "state") -> AsyncIterator[Host]:
    """A mount that lists, polls, and tries again at once what a mount would try again after minutes."""
    options = {"durability": "strict", "close_wait_s": 60.0, "delete_wait_s": 0.2}
    async with running(folder, server, state=state, working=False, change=impatient, **options) as host:
        await persist(host.walk)
        await host.start_working(greeting=False)
        host.nursery.start_soon(host.parts.refresh.run)
        host.nursery.start_soon(_hurry, host)
        yield host


async def persist(act: Callable[[], object]) -> None:
    """Do it until the service lets it happen."""
    while True:
        try:
            await act()  # type: ignore[misc]  # an async function, whose type Callable does not tell
        except RemotefsError:
            await trio.sleep(1.0)
        else:
            return


async def _hurry(host: Host) -> None:
    while True:
        await trio.sleep(_LOOK_S * SPEED)
        for intent in host.pending():
            if intent.reason is not None and intent.due_ns != NEVER_NS:
                host.parts.journal.reschedule(intent.seq, due_ns=0)
        host.parts.wakeup.set()


@dataclass
class Writer:
    """Creates, replaces and removes files, so many at a time, and remembers what each close said."""

    host: Host
    seed: int
    prefix: str = ""
    # What every path holds, by the last close, whatever it answered.
    written: dict[str, bytes] = field(default_factory=dict)
    refused: int = 0
    untrue: list[str] = field(default_factory=list)

    async def work(self, files: int, *, at_once: int = 16) -> None:
        """Write `files` times."""
        async with trio.open_nursery() as nursery:
            for number in range(at_once):
                chance = random.Random(f"{self.seed} {number}")
                nursery.start_soon(self._work, chance, f"{self.prefix}{number:02}", files // at_once)

    async def _work(self, chance: random.Random, stem: str, files: int) -> None:
        paths: list[str] = []
        for number in range(files):
            if paths and chance.random() < 0.2:
                path = chance.choice(paths)
            else:
                path = f"{stem}-{number}.bin"
                paths.append(path)
            await self._write(path, chance.randbytes(chance.randrange(1, 3000)))
            if chance.random() < 0.05:
                path = paths.pop(chance.randrange(len(paths)))
                self.host.unlink(path)
                del self.written[path]

    async def _write(self, path: str, content: bytes) -> None:
        self.written[path] = content
        try:
            await self.host.write(path, content)
        except RemotefsError:
            self.refused += 1
        else:
            if not has(self.host, path, content):
                self.untrue.append(path)


def has(host: Host, path: str, content: bytes) -> bool:
    """Whether the service has that content under the id that the path is bound to."""
    file_id = host.stat(path).file_id
    blob = host.state_dir.with_name("server") / "files" / str(file_id)
    return file_id is not None and blob.exists() and blob.read_bytes() == content


async def promote_to_content(*hosts: Host) -> None:
    """Wait until no change is pending anywhere."""
    for _ in range(3000):
        if not any(host.pending() for host in hosts):
            return
        await trio.sleep(_LOOK_S * SPEED)
    raise AssertionError([host.pending()[:3] for host in hosts])


def all_stored(server: FaultyServer) -> Iterator[FileRecord]:
    """Every file of the service."""
    cursor: Cursor | None = None
    while True:
        page = server.store.list(ListQuery(limit=1000), cursor)
        yield from page.records
        if not page.older:
            return
        cursor = Cursor(page.records[-1].created_us, page.records[-1].id)


def stored(server: FaultyServer, folder: Path) -> Counter[tuple[str, bytes]]:
    """How often the service has each name with each content."""
    return Counter(
        (record.filename, (folder / "server/files" / record.id).read_bytes()) for record in all_stored(server)
    )
