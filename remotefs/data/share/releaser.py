"""Lets go of uploads that the shared store has, when the disk is short of room (X2).

    room gets scarce ─► the uploads used longest ago ─► does the store show their objects? ─► they may go, for a day
    a write finds no room ─► cached content goes ─► then uploads that may go, the longest unused first

Bytes that exist only here stay pinned. These are in the store as well, but they stay too while there is room, because
reading them there needs the store. An upload may go if its object is in the store, its attributes are published, and
nobody pinned it. Its object is looked at before, because whoever manages the store may have removed it: one that is
missing or of another size is put again from here.

A write cannot wait for the store, so uploads are looked at in advance: enough of them for some room.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

import trio

from remotefs.data.content.store import ContentStore
from remotefs.data.intents.upload_options import KEPT
from remotefs.data.share.contents import SharedContents
from remotefs.errors import ObjectStoreError
from remotefs.store.disk import Disk
from remotefs.store.records import Remote
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
# Room beside the reserve below which uploads are looked at, and the most of them that are: whichever is less.
_AHEAD_BYTES, _AHEAD_FRACTION, _AHEAD_FILES = 1 << 30, 0.10, 20_000
_VALID_S = 86_400.0
# How often the room is looked at, and how often while less than so many times that room is left: a fast writer must not
# find none before uploads were looked at.
_LOOK_S, _LOOK_OFTEN_S, _SCARCE = 10.0, 1.0, 8
# Requests at one time, and rows of one turn (H8).
_AT_ONCE, _ROWS = 16, 200


class Amount(NamedTuple):
    """Files, and their bytes."""

    files: int = 0
    bytes: int = 0


class _Free(NamedTuple):
    """An upload that may go until then (trio's time), and when it was last used (ns since the epoch)."""

    until: float
    size: int
    used_ns: int


class Releaser:
    """Owns which uploads may go. Without a store, or if it is not `enabled`, none may."""

    def __init__(
        self, store: Store, content: ContentStore, contents: SharedContents, disk: Disk, *, enabled: bool
    ) -> None:
        self._db = store.database
        self._shares = store.shares
        self._remotes = store.remotes
        self._xattrs = store.xattrs
        self._content = content
        self._contents = contents
        self._disk = disk
        self._enabled = enabled and contents.is_configured
        self._ahead_bytes = min(_AHEAD_BYTES, int(disk.capacity * _AHEAD_FRACTION))
        # By id, the longest unused first.
        self._free: dict[str, _Free] = {}
        self._wakeup = Wakeup()
        # When the uploads that may go were measured last (trio's time), and how much it was.
        self._measured = -math.inf, Amount()
        if self._enabled:
            disk.add_reclaimer(self.reclaim)

    # -- what the user wants to keep

    def keep(self, ino: int, *, kept: bool) -> None:
        """Note that a user pinned a file, or that it may go again."""
        self._xattrs.note(ino, KEPT, b"1" if kept else None)

    def has_copy(self, file_id: str) -> bool:
        """Return whether an upload has a second copy in the store, and may go for it."""
        return self._enabled and self._shares.is_stored(file_id)

    # -- in advance

    async def run(self) -> None:
        """Look at uploads while room is scarce, until cancelled."""
        while self._enabled:
            try:
                await self._look_ahead()
            except ObjectStoreError as error:
                _log.info("no upload is evicted for now: %s", error)
            await self._wakeup.wait(_LOOK_OFTEN_S if self._room() < _SCARCE * self._ahead_bytes else _LOOK_S)

    def _room(self) -> int:
        """Return the bytes that can be written now without letting uploads go."""
        return self._disk.available() + self._content.evictable_bytes

    async def _look_ahead(self) -> None:
        self._drop_stale()
        lacking = self._ahead_bytes - sum(free.size for free in self._free.values())
        if self._room() < self._ahead_bytes and lacking > 0 and self._contents.is_up:
            await self._check(await self._longest_unused(), lacking)

    def _drop_stale(self) -> None:
        now = trio.current_time()
        self._free = {file_id: free for file_id, free in self._free.items() if free.until > now}

    async def _longest_unused(self) -> list[str]:
        """Return the ids that may be looked at, the longest unused first; lets other tasks run in between."""
        # The heap holds those used last at its top, which give way.
        heap: list[tuple[int, str]] = []
        async for file_id, _ in self._spare():
            if file_id not in self._free:
                item = -self._content.last_used_ns(file_id), file_id
                if len(heap) < _AHEAD_FILES:
                    heapq.heappush(heap, item)
                else:
                    heapq.heappushpop(heap, item)
        return [file_id for _, file_id in sorted(heap, reverse=True)]

    async def _spare(self) -> AsyncIterator[tuple[str, int]]:
        """Yield the ids and bytes of all uploads here that have a second copy, as far as this machine knows."""
        after = ""
        while page := self._shares.spare(kept_by=KEPT, after=after, limit=_ROWS) if self._enabled else []:
            for file_id in page:
                if size := self._content.kept_bytes(file_id):
                    yield file_id, size
            after = page[-1]
            await self._db.between_batches()

    async def _check(self, file_ids: Iterable[str], wanted: int) -> int:
        """Ask the store for uploads until `wanted` bytes of them may go; return how many may.

        Raises ObjectStoreError.
        """
        found, waiting = 0, deque(file_ids)
        while waiting and found < wanted:
            batch = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
            remotes = [remote for remote in map(self._remotes.find, batch) if remote is not None]
            present = await self._present(remotes)
            until = trio.current_time() + _VALID_S
            for file_id in batch:
                if file_id in present and (size := self._content.kept_bytes(file_id)):
                    self._free[file_id] = _Free(until, size, self._content.last_used_ns(file_id))
                    found += size
        return found

    async def _present(self, remotes: list[Remote]) -> set[str]:
        """Return the files whose objects the store shows, whole. Raises ObjectStoreError."""
        present: set[str] = set()
        failures: list[ObjectStoreError] = []

        async def ask(remote: Remote) -> None:
            try:
                if await self._contents.ask(remote):
                    present.add(remote.file_id)
                else:
                    _log.warning("%s: the shared store lost its object; it is put again", remote.filename)
                    self._shares.lost(remote.file_id)
            except ObjectStoreError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for remote in remotes:
                nursery.start_soon(ask, remote)
        if failures:
            raise failures[0]
        return present

    # -- letting go

    def reclaim(self, size: int) -> None:
        """Let at least `size` bytes of uploads go, as far as they may."""
        self._let_go(size)
        self._wakeup.set()

    def _let_go(self, size: int) -> Amount:
        gone = Amount()
        while self._free and gone.bytes < size:
            if freed := self._let_one_go(next(iter(self._free))):
                gone = Amount(gone.files + 1, gone.bytes + freed)
        return gone

    def _let_one_go(self, file_id: str) -> int:
        """Let an upload go, unless that is not right any more, or others have been unused for longer by now."""
        free = self._free.pop(file_id)
        if free.until <= trio.current_time() or not self._contents.is_up or not self._content.kept_bytes(file_id):
            return 0
        if (used_ns := self._content.last_used_ns(file_id)) > free.used_ns:
            self._free[file_id] = free._replace(used_ns=used_ns)
            return 0
        return self._content.give_up(file_id) if self._shares.is_spare(file_id, kept_by=KEPT) else 0

    # -- for commands

    async def measure(self, *, at_most_s: float = 0.0) -> Amount:
        """Return how much may go, as of at most `at_most_s` seconds ago; lets other tasks run in between."""
        when, amount = self._measured
        if trio.current_time() - when >= at_most_s:
            when, amount = trio.current_time(), Amount()
            async for _, size in self._spare():
                amount = Amount(amount.files + 1, amount.bytes + size)
            self._measured = when, amount
        return amount

    async def free(self, size: int) -> Amount:
        """Let about `size` bytes of uploads go now, the longest unused first; return how much went.

        Raises ObjectStoreError while the store is out of reach.
        """
        self._drop_stale()
        ready = sum(free.size for free in self._free.values())
        if self._enabled and size > ready:
            await self._check(await self._longest_unused(), size - ready)
        return self._let_go(size)
