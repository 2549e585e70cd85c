"""Draining: `flush`, `umount` and `retry` make pending changes due now and wait for them (W3, A3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

import trio

from remotefs.data.intents.churn import Churn
from remotefs.data.kernel import Usage
from remotefs.data.share.contents import SharedContents
from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.turns import A_TURN, all_intents, of_inodes, waiting_intents
from remotefs.data.writeback.waiters import Waiters
from remotefs.store.records import ContentState, Intent, IntentKind
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

# The interval at which a drain looks at all intents, to report what is left.
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Left:
    """What a drain waits for: the number of intents, that of the requests they take at least, and one of them."""

    intents: int
    requests: int
    first: Intent | None


@dataclass(frozen=True)
class _Goal:
    """The version that each of some files had when the drain began; `confirmations` had come before.

    A file without a pending upload is not among them.
    """

    versions: Mapping[int, int]
    confirmations: int


class Drainer:
    """Waits until pending changes are at the service; `wakeup` wakes the dispatcher."""

    def __init__(
        self,
        store: Store,
        agenda: Agenda,
        waiters: Waiters,
        closer: Closer,
        promoter: Promoter,
        churn: Churn,
        usage: Usage,
        shared: SharedContents,
        wakeup: Wakeup,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._renames = store.renames
        self._agenda = agenda
        self._waiters = waiters
        self._closer = closer
        self._promoter = promoter
        self._churn = churn
        self._usage = usage
        self._shares = store.shares
        self._shared = shared
        self._wakeup = wakeup

    async def drain(
        self,
        timeout_s: float,
        inos: Iterable[int] | None = None,
        report: Callable[[Left], None] = lambda _: None,
        *,
        leaves_open: bool = False,
        with_attributes: bool = False,
    ) -> list[Intent]:
        """Make everything due now, of some inodes or of all, and wait; return the intents left after `timeout_s`.

        What went up is waited for until the shared store has it too, if there is one within reach (X2), and with
        `with_attributes`, or for all inodes, the attributes that changed; these go out together.
        For given inodes the version that they hold now is waited for, not later writes. With `leaves_open` files that
        are being written are left as they are, and their close is not waited for. If nothing is left, what went up is
        content.
        """
        until_s = trio.current_time() + timeout_s
        with trio.move_on_at(until_s):
            await self._renames_followed()
        chosen = None if inos is None else set(inos)
        goal = None if chosen is None else await self._goal(chosen)
        await self._hurry(goal, failed_too=True)
        with trio.move_on_at(until_s):
            while await self._is_something_left(goal, leaves_open=leaves_open):
                report(await self._left(goal))
                await self._closer.close_all(None if goal is None else goal.versions)
                await self._hurry(goal)
                with trio.move_on_after(_LOOK_EVERY_S):
                    await self._until_reached(goal)
            await self._promoter.finish()
            await self._shared_followed(chosen, with_attributes=with_attributes or chosen is None)
        return await self._outstanding(goal)

    async def _shared_followed(self, inos: set[int] | None, *, with_attributes: bool) -> None:
        """Return once the shared store has what went up, as far as nothing keeps it from that (X2)."""
        if not self._shared.is_configured:
            return
        self._shares.hurry()
        self._waiters.notify()
        for number, ino in enumerate(inos or (), start=1):
            while (inode := self._tree.find(ino)) and inode.file_id and self._shared.is_awaited(inode.file_id):
                await self._waiters.progress()
            if number % A_TURN == 0:
                await trio.lowlevel.checkpoint()
        while with_attributes and self._shared.are_attributes_awaited():
            await self._waiters.progress()
        while inos is None and self._shared.is_any_awaited():
            await self._waiters.progress()

    async def retry(self, inos: Iterable[int] | None = None) -> int:
        """Try what failed again now, of some inodes or of all; return the number of files and removals."""
        chosen = None if inos is None else set(inos)
        closed = await self._closer.close_all(chosen)
        failed = 0
        async for page in all_intents(self._journal):
            pending = [i for i in page if chosen is None or (i.ino in chosen and not i.file_id)]
            again = [intent for intent in pending if self._agenda.reason(intent) is not None]
            self._agenda.hurry_waiting(again, failed_too=True)
            failed += len(again)
        self._wakeup.set()
        return failed + closed

    async def _renames_followed(self) -> None:
        """Return once files beneath renamed folders have the intents that their new names ask for."""
        while self._renames.first() is not None:
            await self._waiters.progress()

    async def _goal(self, inos: set[int]) -> _Goal:
        confirmations = self._churn.confirmations
        versions: dict[int, int] = {}
        async for page in all_intents(self._journal):
            pending = (self._tree.find(i.ino) for i in page if i.ino in inos and i.ino is not None)
            versions |= {inode.ino: inode.content_gen for inode in pending if inode is not None}
        return _Goal(versions, confirmations)

    async def _outstanding(self, goal: _Goal | None) -> list[Intent]:
        """Return the pending intents that keep the goal from being reached; without a goal all of them."""
        if goal is not None:
            return await of_inodes(self._journal, goal.versions, partial(self._is_outstanding, goal=goal))
        return [intent async for page in all_intents(self._journal) for intent in page]

    async def _is_something_left(self, goal: _Goal | None, *, leaves_open: bool) -> bool:
        """Return whether the goal is not reached; with `leaves_open` what is being written does not count."""
        if goal is not None:
            left = await self._outstanding(goal)
            return any(not (leaves_open and self._is_being_written(intent)) for intent in left)
        if not leaves_open:
            return self._journal.is_longer_than(0)
        async with aclosing(all_intents(self._journal)) as pages:
            async for page in pages:
                if not all(map(self._is_being_written, page)):
                    return True
        return False

    async def _left(self, goal: _Goal | None) -> Left:
        """Return what is left to do; without a goal from counts, and not from a look at each intent."""
        if goal is None:
            count = self._journal.count()
            return Left(count, count + self._journal.replacing_count(), self._journal.oldest())
        left = await self._outstanding(goal)
        return Left(len(left), sum(1 + len(intent.replaces) for intent in left), next(iter(left), None))

    def _is_outstanding(self, intent: Intent, goal: _Goal) -> bool:
        version = goal.versions.get(intent.ino) if intent.ino is not None and intent.file_id is None else None
        if intent.ino is None or version is None:
            return False
        if intent.kind is not IntentKind.UPLOAD:
            return True
        return not self._churn.was_confirmed(intent.ino, version, after=goal.confirmations)

    def _is_being_written(self, intent: Intent) -> bool:
        if intent.ino is None or not self._usage.is_open_for_write(intent.ino):
            return False
        inode = self._tree.find(intent.ino)
        return intent.kind is IntentKind.DELETE or (inode is not None and inode.state == ContentState.DIRTY)

    async def _until_reached(self, goal: _Goal | None) -> None:
        """Return once nothing is outstanding, without a look at everything each time that an intent ends."""
        if goal is None:
            while self._journal.is_longer_than(0):
                await self._waiters.progress()
            return
        for number, ino in enumerate(goal.versions, start=1):
            while (intent := self._journal.of_inode(ino)) is not None and self._is_outstanding(intent, goal):
                await self._waiters.progress()
            if number % A_TURN == 0:
                await trio.lowlevel.checkpoint()

    async def _hurry(self, goal: _Goal | None, *, failed_too: bool = False) -> None:
        """Make due what waits for its time; the first time also what failed."""
        if goal is not None:
            self._agenda.hurry_waiting(await self._outstanding(goal), failed_too=failed_too)
        else:
            async for page in waiting_intents(self._journal, self._agenda.now_ns()):
                self._agenda.hurry_waiting(page, failed_too=failed_too)
            self._agenda.hurry_delayed(failed_too=failed_too)
        self._wakeup.set()
