"""Drops the page cache of a content file behind a reader that reads a large file in order.

The kernel caches the bytes that the mount hands out. The pages of the content file hold the same bytes once more, and
new pages can cost more than everything else: on a virtual machine that gives free memory back to its host, a cold read
took 3.2 or 8.5 CPU seconds a GB, depending on whether pages could be used again. So the pages that a reader has passed
are dropped, and are free for the next ones. The bytes come from the disk again if the mount's own pages were evicted,
or after a remount.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import trio

from remotefs.errors import RemotefsError

_log = logging.getLogger(__name__)
# The bytes dropped by one call: a call for each READ would cost as much as it saves.
_STEP_BYTES = 8 << 20
# Pages that are not written back yet cannot be dropped. The first call starts that; a call this many steps later
# finds it done.
_LAG_STEPS = 4
# Steps that wait. A step that finds no place stays in the page cache: a reader must not wait for this.
_QUEUE = 64


class DropBehind:
    """Drops pages in a task of its own.

    `duplicate` returns a new descriptor for the content file of an id, or None if there is no such file.
    """

    def __init__(self, duplicate: Callable[[str], int | None]) -> None:
        self._duplicate = duplicate
        self._send, self._receive = trio.open_memory_channel[tuple[str, int]](_QUEUE)

    def passed(self, file_id: str, offset: int, size: int) -> None:
        """Note that a sequential reader has got these bytes."""
        step = (offset + size) // _STEP_BYTES
        if step != offset // _STEP_BYTES:
            try:
                self._send.send_nowait((file_id, step - 1))
            except trio.WouldBlock:
                return

    async def run(self) -> None:
        """Drop pages until cancelled."""
        async for file_id, step in self._receive:
            try:
                fd = self._duplicate(file_id)
                if fd is not None:
                    # In a thread, because writing pages back can wait for the disk.
                    await trio.to_thread.run_sync(_drop_pages, fd, step)
            except (RemotefsError, OSError) as error:
                _log.debug("the pages of %s stay: %s", file_id, error)


def _drop_pages(fd: int, step: int) -> None:
    """Drop the pages of a step and of one some steps before it; close `fd`."""
    try:
        for late in (step, step - _LAG_STEPS):
            if late >= 0:
                os.posix_fadvise(fd, late * _STEP_BYTES, _STEP_BYTES, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
