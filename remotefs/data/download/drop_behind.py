"""A large file that is read in order is in the page cache once: as the mount's pages, not as the content file's too.

The kernel keeps what it was handed. The pages beneath hold the same bytes once more, and new ones can cost more than
all else: on a virtual machine whose free memory goes back to its host a cold read took 3.2 or 8.5 CPU seconds a GB,
depending on whether pages could be used again. So once a reader has passed them they are let go, and are there for the
next. They come from the disk again if the mount's own pages were pushed out, or after a remount.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import trio

from remotefs.errors import RemotefsError

_log = logging.getLogger(__name__)
# Let go of at a time: a call for each READ would cost as much as it saves.
_STEP_BYTES = 8 << 20
# Pages that are not written yet cannot go. The first call has them written; one so many steps later finds that done.
_LAG_STEPS = 4
# Steps that wait. One that finds no place stays in the page cache: a reader must not wait for this.
_QUEUE = 64


class DropBehind:
    """`duplicate` gives a descriptor of its own for the bytes of an id, None when none of them are here."""

    def __init__(self, duplicate: Callable[[str], int | None]) -> None:
        self._duplicate = duplicate
        self._send, self._receive = trio.open_memory_channel[tuple[str, int]](_QUEUE)

    def passed(self, file_id: str, offset: int, size: int) -> None:
        """A reader in order was handed these bytes."""
        step = (offset + size) // _STEP_BYTES
        if step != offset // _STEP_BYTES:
            try:
                self._send.send_nowait((file_id, step - 1))
            except trio.WouldBlock:
                return

    async def run(self) -> None:
        """Let go until cancelled."""
        async for file_id, step in self._receive:
            try:
                fd = self._duplicate(file_id)
                if fd is not None:
                    # In a thread, for having pages written can wait for the disk.
                    await trio.to_thread.run_sync(_let_go, fd, step)
            except (RemotefsError, OSError) as error:
                _log.debug("the pages of %s stay: %s", file_id, error)


def _let_go(fd: int, step: int) -> None:
    """Closes `fd`."""
    try:
        for late in (step, step - _LAG_STEPS):
            if late >= 0:
                os.posix_fadvise(fd, late * _STEP_BYTES, _STEP_BYTES, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
