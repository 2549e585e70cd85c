"""Reads the journal in turns: however long it is, the other tasks of the mount run in between (H8)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable

import trio

from remotefs.store.journal import Journal
from remotefs.store.records import Intent

# The rows that are read in one turn, which takes about a millisecond.
A_TURN = 128


async def all_intents(journal: Journal) -> AsyncGenerator[list[Intent], None]:
    """Yield all intents in pages, the oldest first; rows that come or go meanwhile may be missed or not."""
    after = 0
    while page := journal.page(after, A_TURN):
        yield page
        after = page[-1].seq
        await trio.lowlevel.checkpoint()


async def waiting_intents(journal: Journal, now_ns: int) -> AsyncGenerator[list[Intent], None]:
    """Yield in pages the intents whose time has not come at `now_ns`, without those that wait for an event."""
    after = (now_ns, 0)
    while page := journal.waiting(after, A_TURN):
        yield page
        after = (page[-1].due_ns, page[-1].seq)
        await trio.lowlevel.checkpoint()


async def of_inodes(journal: Journal, inos: Iterable[int], wanted: Callable[[Intent], bool]) -> list[Intent]:
    """Return the UPLOADs and REUPLOADs of some inodes that are wanted."""
    found: list[Intent] = []
    for number, ino in enumerate(inos, start=1):
        if (intent := journal.of_inode(ino)) is not None and wanted(intent):
            found.append(intent)
        if number % A_TURN == 0:
            await trio.lowlevel.checkpoint()
    return found
