"""Telling the kernel what changed behind its back, from one thread of its own.

Never from a handler or under a lock: the kernel may hold the very lock that the notification wants, and wait for the
handler. Nothing waits for this thread.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from remotefs.store.records import ROOT_INO

_log = logging.getLogger(__name__)


class KernelNotifier:
    """Implements the placer's Invalidator; silent until `start()` and after `stop()`.

    `is_known` tells of which inodes the kernel holds anything: of others there is nothing to take back.
    """

    def __init__(self, is_known: Callable[[int], bool]) -> None:
        self._is_known = is_known
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._drop_entry: Callable[[int, str], None] = _nothing_is_mounted
        self._drop_attributes: Callable[[int], None] = _nothing_is_mounted

    def start(self, drop_entry: Callable[[int, str], None], drop_attributes: Callable[[int], None]) -> None:
        """The mount is up; these tell the kernel, and may raise OSError (`invalidation` has them)."""
        self._drop_entry, self._drop_attributes = drop_entry, drop_attributes
        self._thread = threading.Thread(target=self._work, name="kernel-notifier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The mount is going down."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread = None

    def entry(self, parent: int, name: str) -> None:
        """What a name in a directory names has changed."""
        if self._thread is not None and self._is_known_or_root(parent):
            self._queue.put(partial(self._drop_entry, parent, name))

    def inode(self, ino: int) -> None:
        """An inode's attributes have changed; its pages stay, for the bytes of an inode never change."""
        if self._thread is not None and self._is_known_or_root(ino):
            self._queue.put(partial(self._drop_attributes, ino))

    def _is_known_or_root(self, ino: int) -> bool:
        return ino == ROOT_INO or self._is_known(ino)

    def _work(self) -> None:
        while (notification := self._queue.get()) is not None:
            try:
                notification()
            except OSError as error:
                # ENOENT: the kernel holds nothing of it. Anything else costs no more than a stale entry.
                _log.debug("the kernel was told in vain: %s", error)


def _nothing_is_mounted(*_: object) -> None:
    raise AssertionError("the notifier was not started")
