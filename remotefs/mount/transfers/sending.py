"""Waits until the service has certain files, and tells of each what became of it."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from remotefs.control.messages.base import Report
from remotefs.control.messages.put import SentFile
from remotefs.mount.assembly import Components
from remotefs.mount.commands.pending import PendingReasons
from remotefs.mount.progress import Count
from remotefs.mount.transfers.records import Outcome
from remotefs.mount.turns import Turns
from remotefs.store.records import ContentState, Inode, Intent, IntentKind

# Progress is looked at this often, and whether any was made.
_LOOK_EVERY_S = 0.5
# What was replaced goes with a later mount, if not within this time.
_REMOVALS_S = 10.0
# Changes of attributes go out once a second. The next mount goes on with those that are left.
_ATTRIBUTES_S = 10.0
# After this number of files the other tasks of a mount get a turn (H8).
_FILES_A_TURN = 200


class Sending:
    """Waits for uploads. It looks at all parts of an upload, so it is given all of them."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._reasons = PendingReasons(
            parts.store, parts.intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared
        )

    async def wait(self, inos: Sequence[int], stall_s: float, report: Report) -> list[SentFile]:
        """Wait for the uploads of these inodes; give up when nothing has moved for `stall_s` seconds.

        Where there is a shared store within reach it is waited for, too, as a close does (X2).
        A file that the service refuses is not waited for. What is pending at the end stays so.
        """
        await self._parts.drainer.drain(0.0, inos)  # makes them due now
        turns = Turns(_FILES_A_TURN)
        sizes = [await self._size(ino, turns) for ino in inos]
        progress = Count(sum(sizes), len(inos), report)
        movement = _Movement(stall_s)
        farthest: dict[int, int] = {}
        for ino, size in zip(inos, sizes, strict=True):
            while self._is_under_way(ino) and movement.goes_on(self._state(farthest), is_paused=self._is_paused()):
                progress.underway(sum(upload.sent_bytes for upload in self._parts.in_flight.under_way.values()))
                with trio.move_on_after(_LOOK_EVERY_S):
                    await self._parts.waiters.progress()
            progress.done(size)
            await turns.step()
        await self._parts.database.durable()
        return [await self._sent(ino, turns) for ino in inos]

    async def _size(self, ino: int, turns: Turns) -> int:
        await turns.step()
        inode = self._parts.tree.find(ino)
        return inode.size if inode is not None else 0

    async def wait_for_removals(self) -> None:
        """Wait until the ids that uploads have replaced are deleted (W5), or nothing moves."""
        movement = _Movement(_REMOVALS_S)
        while (left := self._removals()) and movement.goes_on(left, is_paused=self._is_paused()):
            with trio.move_on_after(_LOOK_EVERY_S):
                await self._parts.waiters.progress()
        with trio.move_on_after(_REMOVALS_S):
            await self._parts.promoter.finish()

    async def wait_for_store(self) -> int:
        """Wait until the shared store has the attributes that changed, if it is within reach.

        Return the number of files that it does not have yet.
        """
        with trio.move_on_after(_ATTRIBUTES_S):
            while self._parts.shared.is_any_awaited():
                await self._parts.waiters.progress()
        return self._parts.shared.missed_count()

    def _removals(self) -> int:
        pending = self._parts.journal.pending()
        return sum(i.kind is IntentKind.DELETE and self._parts.mandate.covers(i) for i in pending)

    # -- looking

    def _is_under_way(self, ino: int) -> bool:
        if self._upload_of(ino) is None:
            inode = self._parts.tree.find(ino)
            return inode is not None and inode.file_id is not None and self._parts.shared.is_awaited(inode.file_id)
        return self._parts.connectivity.suspended is None and self._parts.failures.refusal(ino) is None

    def _upload_of(self, ino: int) -> Intent | None:
        """Return the upload of an inode that this run may carry out; of a new type or expiry, too."""
        intent = self._parts.journal.of_inode(ino)
        return intent if intent is not None and self._parts.mandate.covers(intent) else None

    def _state(self, farthest: dict[int, int]) -> tuple[int, int, int]:
        """Return numbers that change whenever anything moves.

        Bytes that are sent once more move nothing: `farthest` has the most that were sent, by inode.
        """
        for ino, upload in self._parts.in_flight.under_way.items():
            farthest[ino] = max(farthest.get(ino, 0), upload.sent_bytes)
        return self._parts.journal.count(), sum(farthest.values()), self._parts.shared.missed_count()

    def _is_paused(self) -> bool:
        """Return whether uploads wait for what ends by itself: the request budget, or a put into the shared store."""
        if self._parts.sharer.is_at_work:
            return True
        budget = self._parts.budget.statistics()
        return budget.paused_s > 0 or any(budget.waiting.values())

    async def _sent(self, ino: int, turns: Turns) -> SentFile:
        await turns.step()
        inode = self._parts.tree.find(ino)
        if inode is None or inode.nlink == 0:
            return SentFile(Outcome.FAILED, reason="it was removed meanwhile")
        intent = self._upload_of(ino)
        if intent is not None:
            return self._unsent(inode, intent)
        if inode.state == ContentState.CLEAN and inode.file_id is not None:
            return SentFile(Outcome.SENT, inode.file_id)
        return SentFile(Outcome.LOCAL, reason="files of this name stay on this machine")

    def _unsent(self, inode: Inode, intent: Intent) -> SentFile:
        refusal = self._parts.failures.refusal(inode.ino)
        if refusal is not None:
            return SentFile(Outcome.REFUSED, reason=str(refusal))
        return SentFile(Outcome.PENDING, reason=self._reasons.leftover(intent).reason)


class _Movement:
    """Finds out whether anything moves, by numbers that change when it does."""

    def __init__(self, stall_s: float) -> None:
        self._stall_s = stall_s
        self._since = trio.current_time()
        self._last: object = None

    def goes_on(self, state: object, *, is_paused: bool) -> bool:
        """Return whether something has moved within the time that it may stand still."""
        now = trio.current_time()
        if state != self._last or is_paused:
            self._last, self._since = state, now
        return now - self._since < self._stall_s
