"""The connection to the shared store: whether it is the right one, and within reach (X5).

    unknown ─── it shows its marker ────────────────────────► up
    up ──────── no answer, no marker, or another marker ────► down
    down ────── it shows its marker (asked after 1 s, 2 s, 4 s … a minute) ──► up

While the store is down every request fails at once: readers do not wait for it, and uploads wait in their rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio

from remotefs.backoff import backoff_s
from remotefs.errors import ObjectStoreError, ObjectStoreUnreachable, ObjectStoreUnusable
from remotefs.objects.link import Link
from remotefs.objects.marker import create_marker, read_marker
from remotefs.objects.store import ObjectStore
from remotefs.store.meta import Meta

T = TypeVar("T")
_log = logging.getLogger(__name__)
_FIRST_RETRY_S, _MAX_RETRY_S = 1.0, 60.0
# The absence of an object counts if the store has shown its marker within this time, and so does a put.
_FRESH_S = 10.0
# Without any trouble the marker is looked at as often, so that `status` tells of a store that was emptied or exchanged.
_LOOK_AGAIN_S = 60.0


class StoreConnection:
    """Owns the state of the store. `on_change` is called when the store has got out of reach, or back.

    Making one raises UsageError for an address that cannot be used here, and none for a store that is not there.
    """

    def __init__(self, url: str, meta: Meta, on_change: Callable[[], None], link: Link | None = None) -> None:
        self.url = url
        # What goes over it counts together with the service's bytes.
        self.link = link or Link()
        # None: it is to be opened, again after it was another one. A folder may be mounted under its name meanwhile.
        self._objects: ObjectStore | None = None
        self._meta = meta
        self._on_change = on_change
        self._trouble: ObjectStoreError | None = None
        # When the store last showed its marker (trio's time).
        self._shown_at = -math.inf
        self._looking = trio.Lock()
        self._went_down = trio.Event()
        with suppress(ObjectStoreError):
            self._opened()

    @property
    def is_at_work(self) -> bool:
        """Return whether a request is under way."""
        return self._objects is not None and self._objects.limiter.borrowed_tokens > 0

    @property
    def is_up(self) -> bool:
        """Return whether the store has shown its marker and has answered since."""
        return self._trouble is None and self._shown_at > -math.inf

    @property
    def trouble(self) -> str | None:
        """Return why the store is out of reach, for people; None if it is not."""
        return str(self._trouble) if self._trouble is not None else None

    async def run(self) -> None:
        """Look at the store, and while it is down look again, until cancelled."""
        failures = 0
        while True:
            try:
                await self._look()
            except ObjectStoreError as error:
                self._is_down(error)
                await trio.sleep(backoff_s(_FIRST_RETRY_S, _MAX_RETRY_S, failures))
                failures += 1
            else:
                failures = 0
                with trio.move_on_after(_LOOK_AGAIN_S):
                    await self._went_down.wait()

    async def watch(self, request: Callable[[ObjectStore], Awaitable[T]]) -> T:
        """Carry out a request on a store that has shown its marker, and learn from it whether the store answers.

        Raises ObjectStoreError; at once while the store is known to be down.
        """
        if self._trouble is not None:
            raise type(self._trouble)(str(self._trouble))
        try:
            if not self.is_up:
                await self._look()
            return await request(self._opened())
        except (ObjectStoreUnreachable, ObjectStoreUnusable) as error:
            self._is_down(error)
            raise

    async def change(self, request: Callable[[ObjectStore], Awaitable[T]]) -> T:
        """Do as `watch` does for a request that puts something: into the right store, as it was a moment ago."""
        if self.is_up:
            await self.check_marker()
        return await self.watch(request)

    async def check_marker(self) -> None:
        """Return if the store has shown its marker a moment ago: absence means then that nobody has put an object.

        Raises ObjectStoreError if it does not show it any more.
        """
        if trio.current_time() - self._shown_at <= _FRESH_S:
            return
        try:
            await self._look(unless_fresh=True)
        except ObjectStoreError as error:
            self._is_down(error)
            raise

    async def _look(self, *, unless_fresh: bool = False) -> None:
        """Compare the store's marker with that of before; make one in a store that nobody has used yet.

        Raises ObjectStoreError.
        """
        async with self._looking:
            if unless_fresh and trio.current_time() - self._shown_at <= _FRESH_S:
                return  # another has just looked
            objects = self._opened()
            known = self._meta.facts.shared_store
            marker = await read_marker(objects)
            if marker is None and known is not None:
                raise ObjectStoreUnusable(
                    f"{self.url}: the shared store does not show its marker: the bucket or prefix is another one, or "
                    "the folder is not mounted; nothing is concluded from what is missing there"
                )
            if marker is None:
                marker = await create_marker(objects)
                _log.info("%s: began a shared store", self.url)
            if known not in (None, marker.store_id):
                raise ObjectStoreUnusable(
                    f"{self.url} is another shared store than before: set `shared.store` back, or use another "
                    "--state-dir"
                )
            if known is None:
                self._meta.record(shared_store=marker.store_id)
            self._is_back()

    def _opened(self) -> ObjectStore:
        if self._objects is None:
            self._objects = ObjectStore.open(self.url, self.link)
        return self._objects

    def _is_back(self) -> None:
        self._shown_at = trio.current_time()
        was_up, self._trouble = self._trouble is None, None
        if not was_up:
            _log.info("%s: the shared store is back", self.url)
        self._on_change()

    def _is_down(self, error: ObjectStoreError) -> None:
        if self._trouble is None:
            _log.warning("the shared store is out of reach: %s", error)
        self._trouble = error
        if isinstance(error, ObjectStoreUnusable):
            self._objects = None
        went_down, self._went_down = self._went_down, trio.Event()
        went_down.set()
        self._on_change()
