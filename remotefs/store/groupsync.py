"""One sync for all who wait: the disk is asked once, however many changes it has to keep."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from remotefs.errors import RemotefsError


class GroupSync:
    """Makes changes survive a power cut, those that came together by one call of `sync`.

    After a failure it fails for ever, with what `refusal` makes of the error: the kernel may have dropped what it could
    not write, and would call the next attempt a success (fsync(2), "Notes"). For ever is as long as this object lives:
    its owner keeps it for as long as what it failed to sync is there.
    """

    def __init__(self, sync: Callable[[], Awaitable[None]], refusal: Callable[[OSError], RemotefsError]) -> None:
        self._sync = sync
        self._refusal = refusal
        # Invariant: changes up to number _synced survive a power cut.
        self._planner = 0
        self._synced = 0
        self._syncing: trio.Event | None = None
        self._lost: RemotefsError | None = None

    def changed(self) -> int:
        """Something was changed; the number of that change."""
        self._planner += 1
        return self._planner

    @property
    def is_lost(self) -> bool:
        """Whether it fails for ever."""
        return self._lost is not None

    async def wait(self, change: int | None = None) -> None:
        """Return once that change, or every one so far, survives a power cut. Raises the refusal."""
        wanted = self._planner if change is None else change
        while self._synced < wanted:
            if self._lost is not None:
                raise self._lost.with_traceback(None)
            if self._syncing is not None:
                await self._syncing.wait()
            else:
                await self._sync_once()

    async def _sync_once(self) -> None:
        reached, self._syncing = self._planner, trio.Event()
        try:
            await self._sync()
            self._synced = reached
        except OSError as error:
            self._lost = self._refusal(error)
        finally:
            self._syncing.set()
            self._syncing = None
