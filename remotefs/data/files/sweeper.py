"""Removing bytes that were given up: content of freed ids, and staged files that no row names.

`Garbage` collects them inside the transactions that give them up. They are removed later, because a power cut
could bring back a row whose transaction is not on the disk yet, and that row would ask for its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import trio

from remotefs.backoff import backoff_s
from remotefs.data.content.store import ContentStore
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.staging import Staging
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage, is_referred
from remotefs.errors import RemotefsError
from remotefs.store.store import Store

# The first pause after a removal that failed, doubled up to the last.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 3600.0
_Item = TypeVar("_Item")


class Sweeper:
    """Removes bytes that nothing here needs any more."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        content: ContentStore,
        staging: Staging,
        freezer: Freezer,
        in_flight: UploadsInFlight,
        usage: Usage,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._garbage = intents.garbage
        self._content = content
        self._staging = staging
        self._freezer = freezer
        self._in_flight = in_flight
        self._usage = usage
        # What could not be removed: ids of content, and staged files. It is tried again at `_retry_s` of trio's clock.
        self._file_ids: list[str] = []
        self._staged: list[tuple[int, int]] = []
        self._failures, self._retry_s = 0, -math.inf

    @property
    def is_waiting(self) -> bool:
        """Return whether there is something to remove now."""
        return self._garbage.is_waiting or (bool(self._file_ids or self._staged) and self._may_retry)

    @property
    def _may_retry(self) -> bool:
        return trio.current_time() >= self._retry_s

    def discard(self, ino: int, generation: int) -> None:
        """Give up the staged bytes of a removed file; the next sweep removes them."""
        self._in_flight.cancel(ino)
        self._freezer.calm(ino)
        self._garbage.drop_staged(ino, generation)

    async def sweep(self) -> None:
        """Remove the bytes that were given up, once a power cut cannot bring back the rows that named them.

        Raises OutOfSpace, StateUnusable, OSError: a later sweep tries again what could not be removed.
        """
        file_ids, staged = self._garbage.take()
        if self._may_retry:
            file_ids, self._file_ids = file_ids + self._file_ids, []
            staged, self._staged = staged + self._staged, []
        try:
            await self._db.durable()
        except BaseException:
            self._garbage.give_back(file_ids, staged)
            raise
        errors: list[Exception] = []
        self._file_ids += _left(file_ids, self._remove_content, errors)
        self._staged += _left(staged, self._remove_staged, errors)
        if errors:
            self._retry_s = trio.current_time() + backoff_s(_FIRST_PAUSE_S, _LAST_PAUSE_S, self._failures)
            self._failures += 1
            raise errors[0]
        if not (self._file_ids or self._staged):
            self._failures = 0

    # During the wait for the disk a path may have come to refer to an id again, and a row to another staged file.

    def _remove_content(self, file_id: str) -> None:
        if not is_referred(file_id, self._tree, self._usage):
            self._content.remove(file_id)

    def _remove_staged(self, version: tuple[int, int]) -> None:
        inode = self._tree.find(version[0])
        if inode is None or inode.nlink == 0 or inode.staged_gen != version[1]:
            self._staging.discard(*version)


def _left(items: list[_Item], remove: Callable[[_Item], None], errors: list[Exception]) -> list[_Item]:
    """Remove each item; return those that could not be removed, whose errors are added to `errors`."""
    left = []
    for item in items:
        try:
            remove(item)
        except (RemotefsError, OSError) as error:
            errors.append(error)
            left.append(item)
    return left
