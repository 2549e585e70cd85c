"""The bytes on this disk that nothing needs any more: content of freed ids, and staged files.

Rows let go of bytes inside a transaction, and that transaction may still be undone: it may never commit, or a power cut
may take it. So the bytes are only listed here; `Sweeper.sweep` takes the list, waits until the rows are on the disk,
and removes the bytes then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from remotefs.store.database import Database
from remotefs.store.records import Inode
from remotefs.wakeup import Wakeup


class Labelling(Protocol):
    """The labels that lie with the bytes of inodes and say whose they are, should the rows be lost."""

    def write(self, inode: Inode, path: str) -> None:
        """Label the bytes of an inode with its path."""
        ...

    def void(self, inode: Inode) -> None:
        """Note inside a transaction that the user has given an inode's bytes up."""
        ...

    def void_staged(self, ino: int, generation: int) -> None:
        """Note inside a transaction that nobody needs a staged file."""
        ...


class Garbage:
    """Owns the list of bytes that may be removed; `wakeup` wakes the task that removes them."""

    def __init__(self, database: Database, labels: Labelling, wakeup: Wakeup) -> None:
        self._db = database
        self._labels = labels
        self._wakeup = wakeup
        self._file_ids: list[str] = []
        self._staged: list[tuple[int, int]] = []
        # The number of blocks that keep the list from being taken.
        self._holders = 0

    def drop_content(self, file_id: str) -> None:
        """List the content of an id for removal from this disk."""
        self._file_ids.append(file_id)
        self._wakeup.set()

    def drop_staged(self, ino: int, generation: int) -> None:
        """List a staged file for removal: its row lets go of it in this transaction, or did so in an earlier one."""
        with self._db.transaction():
            self._labels.void_staged(ino, generation)
        self._staged.append((ino, generation))
        self._wakeup.set()

    @property
    def is_waiting(self) -> bool:
        """Return whether there is something to take."""
        return bool(self._file_ids or self._staged) and not self._holders

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let nothing be taken while the block lasts; what is dropped meanwhile can be taken after it."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            self._wakeup.set()

    def take(self) -> tuple[list[str], list[tuple[int, int]]]:
        """Return what was dropped since the last call: ids of content, and (inode, generation) of staged files.

        Their transactions may still be undone: the caller waits until they are on the disk.
        """
        if self._holders:
            return [], []
        file_ids, self._file_ids = self._file_ids, []
        staged, self._staged = self._staged, []
        return file_ids, staged

    def give_back(self, file_ids: list[str], staged: list[tuple[int, int]]) -> None:
        """List again what was taken and could not be removed yet."""
        self._file_ids += file_ids
        self._staged += staged
