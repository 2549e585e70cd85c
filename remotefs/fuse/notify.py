"""Notifications to the kernel about changes that did not come through it, sent from one thread of its own.

A handler must not send one, nor must code that holds a lock: a notification about a name waits for the kernel's lock of
the directory, and the kernel holds that lock while it waits for a handler. So the event loop only puts notifications
into a queue, and nothing waits for the thread (docs/adr/0002-kernel-facts.md).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from remotefs.store.records import ROOT_INO
from remotefs.vfs.view import View

_log = logging.getLogger(__name__)
# How often it is asked whether a notification that is being sent is through: it takes microseconds.
_GRANTED_S = 0.0005


class KernelNotifier:
    """The Invalidator that the reconciliation calls; sends nothing before `start()` and after `stop()`.

    `is_known` returns whether the kernel knows an inode; of any other there is nothing to invalidate. The kernel's root
    is the folder at which the view begins.
    """

    def __init__(self, is_known: Callable[[int], bool], view: View) -> None:
        self._is_known = is_known
        self._view = view
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        # Held while a notification is being sent, and while none may be.
        self._sending = threading.Lock()
        self._drop_entry: Callable[[int, str], None] = _nothing_is_mounted
        self._drop_attributes: Callable[[int], None] = _nothing_is_mounted

    def start(self, drop_entry: Callable[[int, str], None], drop_attributes: Callable[[int], None]) -> None:
        """Start the thread, once the mount is up. It calls the given functions, which may raise OSError."""
        self._drop_entry, self._drop_attributes = drop_entry, drop_attributes
        self._thread = threading.Thread(target=self._work, name="kernel-notifier", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more, because the mount is going down: what is in the queue is dropped.

        The session must not be closed before `join` said that the thread is gone.
        """
        if self._thread is not None:
            self._is_stopped = True
            self._queue.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread after `stop`, from another thread; return whether it is gone.

        It may be blocked in the kernel, until the connection is aborted.
        """
        if self._thread is not None:
            self._thread.join(timeout_s)
        return self._thread is None or not self._thread.is_alive()

    @asynccontextmanager
    async def held_back(self) -> AsyncIterator[None]:
        """Send no notification within the block: those that come wait.

        A process of this mount that is in a call holds the kernel's lock of a directory, for which a notification would
        wait. If the mount is killed then, the thread waits for ever for the call, which the connection to the kernel
        outlives, because the thread has it open.
        """
        while not self._sending.acquire(blocking=False):  # noqa: ASYNC110 - it is the thread that lets go of it
            await trio.sleep(_GRANTED_S)
        try:
            yield
        finally:
            self._sending.release()

    def entry(self, parent: int, name: str) -> None:
        """Queue the notification that a name in a directory means another file now, or none."""
        if self._is_working and self._is_known_or_root(parent):
            self._queue.put(partial(self._drop_entry, self._in_kernel(parent), name))

    def inode(self, ino: int) -> None:
        """Queue the notification that an inode's attributes changed.

        The kernel keeps the pages, because the bytes of an inode change only through the kernel.
        """
        if self._is_working and self._is_known_or_root(ino):
            self._queue.put(partial(self._drop_attributes, self._in_kernel(ino)))

    @property
    def _is_working(self) -> bool:
        return self._thread is not None and not self._is_stopped

    def _is_known_or_root(self, ino: int) -> bool:
        return ino == self._view.root_ino or self._is_known(ino)

    def _in_kernel(self, ino: int) -> int:
        return ROOT_INO if ino == self._view.root_ino else ino

    def _work(self) -> None:
        while (notification := self._queue.get()) is not None and not self._is_stopped:
            try:
                with self._sending:
                    notification()
            except OSError as error:
                # ENOENT: the kernel has not cached it. Any other error costs no more than a stale entry.
                _log.debug("the kernel did not take a notification: %s", error)


def _nothing_is_mounted(*_: object) -> None:
    raise AssertionError("the notifier was not started")
