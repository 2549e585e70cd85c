"""Repeats closes and releases that failed, because the disk was full or a row could not be written (H7).

The program gets the error, but its handle is gone: nothing else would upload the bytes that it wrote, or free a file
that was removed. The closer looks for such files soon after each failure, and once a minute.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container
from dataclasses import dataclass

import trio

from remotefs.backoff import backoff_s
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.writer import FileWriter
from remotefs.data.intents.intents import Intents
from remotefs.data.kernel import Usage
from remotefs.errors import RemotefsError
from remotefs.store.store import Store
from remotefs.wakeup import Wakeup

_log = logging.getLogger(__name__)

# The first pause after a failure, doubled up to the last. A failure that was not noticed is found after the last, too.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 60.0


@dataclass
class _Failure:
    """Closes of one file that failed; the next try comes at `due_s` of the loop's clock."""

    reason: str
    tries: int
    due_s: float


class Closer:
    """Closes DIRTY files that are not open for writing any more, and releases unlinked files that are not open.

    Files whose bytes turned out to be what the service has are given to `request_promotion`.
    """

    def __init__(
        self,
        store: Store,
        intents: Intents,
        writer: FileWriter,
        freezer: Freezer,
        usage: Usage,
        request_promotion: Callable[[int], None],
    ) -> None:
        self._tree = store.tree
        self._unlinker = intents.unlinker
        self._writer = writer
        self._freezer = freezer
        self._usage = usage
        self._request_promotion = request_promotion
        # Invariant: holds only inodes that could not be closed at the last try.
        self._failures: dict[int, _Failure] = {}
        self._wakeup = Wakeup()

    def failed(self, ino: int, error: Exception) -> None:
        """Note that a close or release of a file failed; try it again after a pause."""
        former = self._failures.get(ino)
        tries = former.tries + 1 if former else 0
        pause_s = backoff_s(_FIRST_PAUSE_S, _LAST_PAUSE_S, tries)
        if former is None or former.reason != str(error):
            _log.warning("inode %d could not be closed, and is tried again: %s", ino, error)
        self._failures[ino] = _Failure(str(error), tries, trio.current_time() + pause_s)
        self._wakeup.set()

    def reason(self, ino: int) -> str | None:
        """Return why the last close of a file failed; None where it did not."""
        failure = self._failures.get(ino)
        return failure.reason if failure else None

    @property
    def failing(self) -> Collection[int]:
        """Return the inodes whose last close failed."""
        return self._failures.keys()

    async def close_all(self, inos: Container[int] | None = None) -> int:
        """Close the written files, of these or of all, that nobody has open for writing; return their number."""
        unclosed = [inode.ino for inode in self._tree.unclosed() if inos is None or inode.ino in inos]
        return sum([await self._close(ino) for ino in unclosed])

    async def run(self) -> None:
        """Look for such files after each failure, and once a minute, until cancelled."""
        failures = 0
        while True:
            await self._wakeup.wait(self._pause_s())
            try:
                await self._look()
                failures = 0
            except RemotefsError as error:
                _log.warning("files that are not closed cannot be looked for: %s", error)
                # What is due stays due, so it gives no pause.
                await trio.sleep(backoff_s(_FIRST_PAUSE_S, _LAST_PAUSE_S, failures))
                failures += 1

    async def _look(self) -> None:
        unclosed = [inode.ino for inode in self._tree.unclosed()]
        self._failures = {ino: self._failures[ino] for ino in unclosed if ino in self._failures}
        for ino in unclosed:
            failure = self._failures.get(ino)
            if failure is None or failure.due_s <= trio.current_time():
                await self._close(ino)
        self._freezer.thaw_unwanted()
        for inode in self._tree.unlinked():
            if not self._usage.is_open(inode.ino) and (inode.file_id is not None or inode.staged_gen is not None):
                self._unlinker.release(inode)

    def _pause_s(self) -> float:
        due_s = min((failure.due_s for failure in self._failures.values()), default=trio.current_time() + _LAST_PAUSE_S)
        return min(max(due_s - trio.current_time(), 0.0), _LAST_PAUSE_S)

    async def _close(self, ino: int) -> bool:
        """Close a file that nobody has open for writing; return whether it is closed."""
        if self._usage.is_open_for_write(ino):
            # The program that has it open closes it, and gets the error if that fails again.
            self._failures.pop(ino, None)
            return False
        try:
            closed = await self._writer.close(ino)
        except (RemotefsError, OSError) as error:
            self.failed(ino, error)
            return False
        self._failures.pop(ino, None)
        if not closed:
            self._request_promotion(ino)
        return True
