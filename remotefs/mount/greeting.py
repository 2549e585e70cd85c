"""The first words of a run: what an earlier one left, and who answers at the service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from remotefs.api.budget import Priority
from remotefs.config import RefreshConfig
from remotefs.control.messages.base import Listing, Notice, Report
from remotefs.errors import RateLimited, ServerFailure, TransportError
from remotefs.mount.assembly import Components
from remotefs.mount.opening import count_left

# A run whose tree is known does not wait longer than this for the first answer of the service.
_GREETING_S = 2.0


class Greeting:
    """Reports leftovers, and lists the service or greets it; after the recovery and before the workers."""

    def __init__(self, parts: Components, config: RefreshConfig, report: Report) -> None:
        self._parts = parts
        self._config = config
        self._report = report

    def tell_leftovers(self) -> None:
        """Report the changes of an earlier run that are still pending, and files that recovery found (A3)."""
        rescued, lost = self._parts.recovery.rescued, self._parts.database.lost_frames
        if lost:
            self._report(Notice(text="the log of the database was damaged: the last changes of names may be lost"))
        if rescued.returned:
            self._report(
                Notice(text=f"{rescued.returned:,} files whose records were lost are back; the log names them")
            )
        if rescued.trashed:
            text = f"{rescued.trashed:,} files whose records were lost are in the trash: see `remotefs trash list`"
            self._report(Notice(text=text))
        left = count_left(self._parts)
        if left:
            self._report(Notice(text=f"{left:,} changes of an earlier mount are pending and go on"))

    async def greet_service(self, patience_s: float = _GREETING_S) -> None:
        """List, where nothing is known yet; else see who answers, without waiting long for it (A2)."""
        client = self._parts.client
        await self._greet(lambda: client.list_page(None, priority=Priority.FIRST_LISTING, limit=1), patience_s)

    async def catch_up(self, patience_s: float) -> None:
        """Do as `greet_service`, and see which files are new at the service."""
        await self._greet(self._parts.listings.poll, patience_s)

    async def _greet(self, ask: Callable[[], Awaitable[object]], patience_s: float) -> None:
        if self._parts.meta.facts.listed_ns == 0:
            await self._list_first()
            return
        with trio.move_on_after(patience_s) as patience:
            try:
                await self._parts.connectivity.watch(ask)
            except (TransportError, ServerFailure, RateLimited) as error:
                # No answer, or one that says nothing about this run: it would come at any other time too.
                self._report(Notice(text=f"starting with what is known: {error}"))
        if patience.cancelled_caught:
            self._report(Notice(text="starting with what is known: the service does not answer"))

    async def _list_first(self) -> None:
        parts = self._parts
        with trio.move_on_after(self._config.first_listing_wait_s) as patience:
            await parts.connectivity.watch(
                lambda: parts.listings.walk(
                    priority=Priority.FIRST_LISTING, report=lambda files: self._report(Listing(files=files))
                )
            )
        if patience.cancelled_caught:
            self._report(Notice(text="the listing is long: the rest follows while the mount is in use"))
        parts.meta.record(shape=parts.client.shape if parts.client.shape != "auto" else None)
