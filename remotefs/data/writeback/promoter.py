"""Turns confirmed staged files into content, those of one second together.

Nobody waits for that, because a staged file is read as well where it is. So the files of a second are promoted side by
side, and the syncs that each needs are group syncs that all of them share (`Durability`).
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

# Files that come within this time of the first one share its group syncs.
_GATHER_S = 1.0
# A file that failed, because the disk was full, is tried again after a pause, doubled up to the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 3600.0
# The number of files side by side; each may take a thread.
_TOGETHER = 16


class Promoter:
    """Promotes files turn by turn; `Promotion.promote_to_content` decides whether a file can be promoted."""

    def __init__(self, promotion: Promotion) -> None:
        self._promotion = promotion
        # An ordered set: the values mean nothing.
        self._requested: dict[int, None] = {}
        # The files that failed, the number of turns in a row with new ones, and the next try (the loop's clock).
        self._failed: dict[int, None] = {}
        self._failures = 0
        self._retry_s = math.inf
        # The ends of two turns: the one at work or the last one, and the one that takes what is requested now.
        self._turn, self._next_turn = trio.Event(), trio.Event()
        self._turn.set()
        self._at_work = trio.Lock()
        self._wakeup = Wakeup()
        self._skip_gathering = Wakeup()

    def request(self, ino: int) -> None:
        """Let the next turn promote the inode's staged file, if it can: something happened that may allow it."""
        self._requested[ino] = None
        self._wakeup.set()

    async def finish(self) -> None:
        """Return once each file that was requested so far is promoted, or cannot be; needs `run` to run."""
        if self._requested:
            self._skip_gathering.set()
            await self._next_turn.wait()
        else:
            await self._turn.wait()

    def resting(self) -> AbstractAsyncContextManager[None]:
        """Promote nothing while the block lasts, which begins once the turn at work is over."""
        return self._at_work

    async def run(self) -> None:
        """Promote until cancelled."""
        while True:
            await self._wakeup.wait(max(self._retry_s - trio.current_time(), 0.0))
            await self._skip_gathering.wait(_GATHER_S)
            async with self._at_work:
                await self._take_turn()

    async def _take_turn(self) -> None:
        if trio.current_time() >= self._retry_s:
            self._requested |= self._failed
            self._failed = {}
        requested, self._requested = iter(self._requested), {}
        before = len(self._failed)
        self._turn, self._next_turn = self._next_turn, trio.Event()
        while some := list(islice(requested, _TOGETHER)):
            await self._promote_together(some)
        self._plan_retry(has_failed=len(self._failed) > before)
        self._turn.set()

    def _plan_retry(self, *, has_failed: bool) -> None:
        if not self._failed:
            self._failures, self._retry_s = 0, math.inf
        elif has_failed:
            self._retry_s = trio.current_time() + backoff_s(_FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._failures)
            self._failures += 1

    async def _promote_together(self, inos: list[int]) -> None:
        async with trio.open_nursery() as nursery:
            for ino in inos:
                nursery.start_soon(self._promote, ino)

    async def _promote(self, ino: int) -> None:
        try:
            await self._promotion.promote_to_content(ino)
            self._failed.pop(ino, None)
        except (RemotefsError, OSError) as error:
            self._failed[ino] = None
            _log.warning("inode %d stays in staging: %s", ino, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours with one file must not end the mount
            self._failed[ino] = None
            _log.error("inode %d stays in staging", ino, exc_info=error)
