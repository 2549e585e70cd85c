"""The task that exchanges attributes with the other machines: what changed here goes out, what they wrote comes in."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from remotefs.data.share.compaction import Compaction
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.log_reader import LogReader
from remotefs.data.share.publisher import Publisher
from remotefs.errors import ObjectStoreDenied, ObjectStoreError
from remotefs.store.shared_log import SharedLog
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)
# Changes are gathered for this long, so that those of a second share a segment.
_GATHER_S = 1.0
_COMPACT_EVERY_S = 3600.0
# A store that refused what this machine would put is tried again after this time.
_REFUSED_AGAIN_S = 60.0


class Exchange:
    """Publishes, reads, applies and compacts in turn. `on_change` is called when something went out.

    `apply` brings the tree in line with the map. `wakeup` is set when something changed here. The logs of others are
    read every `poll_s()` seconds, which depends on the use of the mount.
    """

    def __init__(
        self,
        shared_log: SharedLog,
        contents: SharedContents,
        publisher: Publisher,
        reader: LogReader,
        compaction: Compaction,
        apply: Callable[[], Awaitable[None]],
        on_change: Callable[[], None],
        wakeup: Wakeup,
        *,
        poll_s: Callable[[], float],
    ) -> None:
        self._shared_log = shared_log
        self._contents = contents
        self._publisher = publisher
        self._reader = reader
        self._compaction = compaction
        self._apply = apply
        self._on_change = on_change
        self._wakeup = wakeup
        self._poll_s = poll_s
        self._polled_at = self._compacted_at = self._refused_at = -math.inf

    def wake(self) -> None:
        """Look at once, because the mount is used again: others may have changed much meanwhile."""
        self._wakeup.set()

    async def run(self) -> None:
        """Exchange until cancelled; while the store is out of reach changes wait in their rows."""
        await self._publisher.join()
        while True:
            if self._contents.is_up:
                await self._turn()
            await self._wakeup.wait(self._poll_s())
            await trio.sleep(_GATHER_S)

    async def take_in(self) -> None:
        """Read all logs once and bring the tree in line; publish nothing. Raises ObjectStoreError."""
        await self._reader.poll()
        await self._apply()

    async def _turn(self) -> None:
        try:
            # What others wrote comes first: a machine that joins has no news for them.
            await self._poll()
            await self._publish()
        except ObjectStoreError as error:
            _log.info("attributes wait for the shared store: %s", error)
        await self._apply()
        await self._compact()

    async def _poll(self) -> None:
        if trio.current_time() - self._polled_at >= self._poll_s():
            await self._reader.poll()
            self._polled_at = trio.current_time()

    async def _publish(self) -> None:
        if not self._shared_log.is_any_dirty() or trio.current_time() - self._refused_at < _REFUSED_AGAIN_S:
            return
        try:
            while await self._publisher.publish():
                pass
            self._contents.may_write()
        except ObjectStoreDenied as error:
            if not self._contents.may_only_read:
                _log.warning("attributes that change here stay here: %s", error)
            self._contents.may_only_read = True
            self._refused_at = trio.current_time()
        self._on_change()

    async def _compact(self) -> None:
        if trio.current_time() - self._compacted_at < _COMPACT_EVERY_S:
            return
        self._compacted_at = trio.current_time()
        try:
            await self._compaction.run()
        except ObjectStoreError as error:
            _log.info("the log of this machine is compacted later: %s", error)
