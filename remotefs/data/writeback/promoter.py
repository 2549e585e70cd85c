"""Turns what the service has confirmed into content, the files of a moment together.

Nobody waits for it: a staged file is read as well where it is. So those of a second go side by side, and the syncs that
each of them needs are rounds that all of them share (`Durability`).
"""

from __future__ import annotations

import logging
import math
from contextlib import AbstractAsyncContextManager
from itertools import islice

import trio

from remotefs.backoff import backoff_s
from remotefs.data.files.promotion import Promotion
from remotefs.errors import RemotefsError
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)

# Files that come within so many seconds of the first share its rounds.
_GATHER_S = 1.0
# What failed, because the disk was full, is tried again after a pause, doubled up to the last.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
# So many side by side; each may have a thread.
_TOGETHER = 16


class Promoter:
    """Owns what is to be settled, turn by turn. `Promotion` decides whether it can be."""

    def __init__(self, promotion: Promotion) -> None:
        self._promotion = promotion
        # Insertion-ordered; the values say nothing.
        self._wanted: dict[int, None] = {}
        # Those that failed, how many turns in a row had new ones, and when they are tried again (the loop's clock).
        self._failed: dict[int, None] = {}
        self._failures = 0
        self._retry_s = math.inf
        # The ends of the turn at work, or the last one, and of the one that will take what is wanted now.
        self._turn, self._next_turn = trio.Event(), trio.Event()
        self._turn.set()
        self._at_work = trio.Lock()
        self._bell = Wakeup()
        self._hurry = Wakeup()

    def request(self, ino: int) -> None:
        """Something happened that may let the inode's staged file become content: it will soon, if it may."""
        self._wanted[ino] = None
        self._bell.set()

    async def finish(self) -> None:
        """Return once all that was wanted so far is settled or cannot be; needs `run` to run."""
        if self._wanted:
            self._hurry.set()
            await self._next_turn.wait()
        else:
            await self._turn.wait()

    def resting(self) -> AbstractAsyncContextManager[None]:
        """Settle nothing while the block lasts, which begins once the turn at work is over."""
        return self._at_work

    async def run(self) -> None:
        """Settle until cancelled."""
        while True:
            await self._bell.wait(max(self._retry_s - trio.current_time(), 0.0))
            await self._hurry.wait(_GATHER_S)
            async with self._at_work:
                await self._take_turn()

    async def _take_turn(self) -> None:
        if trio.current_time() >= self._retry_s:
            self._wanted |= self._failed
            self._failed = {}
        wanted, self._wanted = iter(self._wanted), {}
        before = len(self._failed)
        self._turn, self._next_turn = self._next_turn, trio.Event()
        while some := list(islice(wanted, _TOGETHER)):
            await self._settle_together(some)
        self._plan_retry(has_failed=len(self._failed) > before)
        self._turn.set()

    def _plan_retry(self, *, has_failed: bool) -> None:
        if not self._failed:
            self._failures, self._retry_s = 0, math.inf
        elif has_failed:
            self._retry_s = trio.current_time() + backoff_s(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._failures)
            self._failures += 1

    async def _settle_together(self, inos: list[int]) -> None:
        async with trio.open_nursery() as nursery:
            for ino in inos:
                nursery.start_soon(self._settle, ino)

    async def _settle(self, ino: int) -> None:
        try:
            await self._promotion.promote_to_content(ino)
            self._failed.pop(ino, None)
        except (RemotefsError, OSError) as error:
            self._failed[ino] = None
            _log.warning("inode %d stays in staging: %s", ino, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not end the mount
            self._failed[ino] = None
            _log.error("inode %d stays in staging", ino, exc_info=error)
