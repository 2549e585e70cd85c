"""The service and the other people in a soak: faults, outages, and files that come, go and expire by themselves."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle

from starlette.types import Message

from remotefs.server.errors import ApiError
from remotefs.server.queries import ListQuery
from tests.faults import (
    Action,
    Call,
    CutBody,
    Drop,
    FaultyServer,
    HalfBody,
    Hold,
    LingeringDelete,
    LostReply,
    Mixture,
    Reply,
    Throttle,
    WrongLength,
    lagging_listing,
)
from tests.mount.support import remote

# Of all requests this part goes wrong, also while the service is well.
RATE = 0.08
LAG_S = 2.0
# Where others put files, and where they remove ours.
OTHERS, GIVEN = "others", "given"
_LIVING = 60
_SLOW_BYTES_PER_S = 300_000


@dataclass
class SlowReply(Action):
    """Carry out, and send the reply's body no faster than so many bytes a second."""

    waits = True
    bytes_per_s: float = _SLOW_BYTES_PER_S

    async def __call__(self, call: Call) -> None:
        async def send(message: Message) -> None:
            await asyncio.sleep(len(message.get("body", b"")) / self.bytes_per_s)
            await call.send(message)

        await call.carry_out(send)


# The service has not done it. Refusals that are for a person (401, 413, a 429 without a time) are left out: closes tell
# them to the programs.
_REFUSALS: tuple[Action, ...] = (
    Reply(429, headers={"retry-after-ms": "500"}),
    Reply(429, headers={"retry-after": "1"}),
    Reply(500),
    Reply(503, headers={"retry-after": "1"}),
    Reply(529),
    Drop(),
)
_BROKEN: tuple[Action, ...] = (HalfBody(), CutBody(after_bytes=40), WrongLength(7))
_FAULTS: dict[str, tuple[Action, ...]] = {
    "upload": (*_REFUSALS, *_BROKEN, LostReply(), Drop(after_request_bytes=600), Throttle(_SLOW_BYTES_PER_S)),
    "list": (*_REFUSALS, *_BROKEN, SlowReply()),
    "metadata": _REFUSALS,
    "content": (*_REFUSALS, CutBody(after_bytes=5000), SlowReply()),
    "delete": (*_REFUSALS, LostReply(), HalfBody(), LingeringDelete(LAG_S)),
}


@dataclass
class Weather:
    """Spoils a part of all requests, and lets the service go away now and then.

    In one kind of outage connections break at once; in the other the service accepts requests and does not answer.
    """

    server: FaultyServer
    seed: int
    every_s: float
    outage_s: float
    outages: int = 0
    mixtures: dict[str, Mixture] = field(default_factory=dict)

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)
        for op, actions in _FAULTS.items():
            usual = {"usual": lagging_listing(LAG_S)} if op == "list" else {}
            self.mixtures[op] = Mixture(RATE, actions, chance, **usual)

    def run(self, over: threading.Event) -> None:
        """Have weather until told to stop; the service is well afterwards."""
        self._spoil()
        for hangs in cycle((False, True)):
            if over.wait(self.every_s - self.outage_s):
                break
            self._go_away(hangs=hangs)
            over.wait(self.outage_s)
            self.server.script.clear()
            self._spoil()
        self.server.script.clear()

    def spoiled(self) -> Counter[str]:
        """Return how many requests of each kind were spoiled, outages aside."""
        return Counter({op: mixture.spoiled for op, mixture in self.mixtures.items()})

    def _spoil(self) -> None:
        for op, mixture in self.mixtures.items():
            self.server.script.add(mixture, op=op, times=None)

    def _go_away(self, *, hangs: bool) -> None:
        self.outages += 1
        self.server.script.clear()
        if hangs:
            # Not uploads: one that the client gave up would still be carried out at the end (W6).
            for op in ("list", "metadata", "content"):
                self.server.script.add(Hold(), op=op, times=None)
        self.server.script.add(Drop(), times=None)


# -- the others


def content_of(name: str) -> bytes:
    """Return what others put into a file of that name."""
    chance = random.Random(name)
    return chance.randbytes(chance.choice((0, 300, 5000, 70_000, 200_000, 2_000_000)))


@dataclass
class Others:
    """Other people of the account: they add files, some with an expiry, and remove theirs and a few of ours."""

    server: FaultyServer
    seed: int
    pace_s: float
    added: int = 0
    removed: int = 0
    # Names of ours that they removed.
    removed_ours: list[str] = field(default_factory=list)

    def settle_in(self, files: int) -> None:
        """Add files that stay, more than one page of the listing shows."""
        for number in range(files):
            name = f"archive/{number % 20:02}/{number:04}.txt"
            self.server.store.add_generated(remote(name), name.encode())

    def run(self, over: threading.Event) -> None:
        """Come and go until told to stop."""
        chance = random.Random(self.seed)
        living: list[str] = []
        for number in itertools.count():
            if over.wait(self.pace_s):
                return
            living.append(self._add(number, chance))
            if len(living) > _LIVING:
                self._remove(living.pop(chance.randrange(len(living))))
                self.removed += 1
            if number % 10 == 9:
                self._remove_ours(chance)

    def _add(self, number: int, chance: random.Random) -> str:
        name = f"{OTHERS}/{number % 7}/{number:06}.bin"
        expires_in_s = chance.randrange(30, 300) if chance.random() < 0.2 else None
        record = self.server.store.add(remote(name), content_of(name), downloadable=True, expires_in_s=expires_in_s)
        self.added += 1
        return record.id

    def _remove_ours(self, chance: random.Random) -> None:
        """Remove a file of ours from the service, one that has been there a while."""
        records = [
            r for r in self.server.store.list(ListQuery(limit=1000)).records if r.filename.startswith(remote(GIVEN))
        ]
        if len(records) > 6:
            record = chance.choice(records[4:])
            self._remove(record.id)
            self.removed_ours.append(record.filename)

    def _remove(self, file_id: str) -> None:
        with suppress(ApiError):  # it has expired, or a mount was faster
            self.server.store.delete(file_id)
