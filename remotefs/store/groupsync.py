"""Group sync: one sync of the disk serves all who wait, however many changes it has to keep.

    changes     1  2      3    4  5           6
    syncs            ├─── 1-2 ─────┤├─── 3-5 ───────┤├─── 6 ───┤

A sync covers the changes up to its beginning. A change that comes while it runs waits for the next sync, which serves
all that have come meanwhile. The first task that finds no sync under way runs one; the others wait for its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from remotefs.errors import RemotefsError
from remotefs.waits import waiting_for


class GroupSync:
    """Makes changes survive a power cut, with one call of `sync` for all that came together.

    After a failure every wait raises the exception that `refusal` makes of the error. A later success would prove
    nothing: the kernel may have dropped the pages that it could not write, and reports the next fsync as a success
    (fsync(2), "Notes"). So the owner has to keep this object as long as the thing that it failed to sync exists.
    """

    def __init__(self, sync: Callable[[], Awaitable[None]], refusal: Callable[[OSError], RemotefsError]) -> None:
        self._sync = sync
        self._refusal = refusal
        # Invariant: changes up to number _synced survive a power cut.
        self._changes = 0
        self._synced = 0
        self._syncing: trio.Event | None = None
        self._lost: RemotefsError | None = None

    def changed(self) -> int:
        """Record a change and return its number."""
        self._changes += 1
        return self._changes

    @property
    def is_lost(self) -> bool:
        """Return whether a sync has failed, so that every further wait fails."""
        return self._lost is not None

    async def wait(self, change: int | None = None) -> None:
        """Return once change number `change`, or every change so far, survives a power cut. Raises the refusal."""
        wanted = self._changes if change is None else change
        while self._synced < wanted:
            if self._lost is not None:
                # One exception object for all waiters: without this its traceback would grow with each raise.
                raise self._lost.with_traceback(None)
            if self._syncing is not None:
                # That sync may have begun before our change, or its task may be cancelled: the loop looks again.
                with waiting_for("disk"):
                    await self._syncing.wait()
            else:
                with waiting_for("disk"):
                    await self._sync_once()

    async def _sync_once(self) -> None:
        reached, self._syncing = self._changes, trio.Event()
        try:
            await self._sync()
            self._synced = reached
        except OSError as error:
            self._lost = self._refusal(error)
        finally:
            self._syncing.set()
            self._syncing = None
