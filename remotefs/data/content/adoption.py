"""Adoption: a staged file becomes the content of an id, by rename, so that a power cut at no moment loses its bytes.

The bytes, and the rows that bind them to the id, are on the disk when it begins. Then, in this order:

    1  a thread reads the staged file: the sums of its chunks, and the digest, which must be that of the upload
    2  what is here of the id as cached content goes: full sums must never stand beside part of the bytes
    3  the sums are written durably as <id>.pinned (or <id>.cached); a group sync puts that name on the disk
    4  the staged file is renamed to <id>, without an await: readers see the old content or the new
    5  a group sync puts that name on the disk; now the row may stop naming the staged file

A crash before step 4 leaves the staged file, perhaps beside sums without bytes; a crash after it leaves complete
content with its sums. Either way the row still names the staged file, and the next start calls `adopt` again. An
adoption that fails removes its sums, because chunks that are fetched later must not meet them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.data.content.chunks import Layout
from remotefs.data.content.file import hash_file
from remotefs.data.content.folder import ContentFolder
from remotefs.data.content.index import Entry
from remotefs.errors import CorruptionError, LocalError
from remotefs.store.disk import local_error, write_durably
from remotefs.store.durability import Durability


class Adoption:
    """Makes staged files content. `durability` makes the names of the sums and of the bytes survive a power cut."""

    def __init__(self, folder: ContentFolder, durability: Durability) -> None:
        self._folder = folder
        self._index = folder.index
        self._durability = durability
        self._running: set[str] = set()
        # Subfolders whose own names survive a power cut.
        self._named: set[Path] = set()

    def is_running(self, file_id: str) -> bool:
        """Return whether the sums of an id are being written: nothing of it may be stored then."""
        return file_id in self._running

    async def adopt(self, file_id: str, staged: Path, layout: Layout, *, pinned: bool, digest: str | None) -> None:
        """Make a staged file the content of an id; when this returns, a power cut loses nothing of it.

        `digest` is the xxh3-128 of its bytes in hex, None where it is not known. Raises CorruptionError when the bytes
        or their length are others, LocalError; then the staged file or the complete content is there: call it again.
        """
        pinned = pinned or self._index.is_pinned(file_id)
        try:
            if self._was_adopted(file_id, staged):
                self._folder.mark(file_id, pinned=pinned)
            else:
                await self._prepare(file_id, staged, layout, pinned, digest)
                self._folder.replace(file_id, staged, Entry(pinned, layout.size, time.time_ns()))
            self._durability.named(self._index.data(file_id).parent)
            await self._durability.wait()
            crashpoints.reached("content is on the disk", file_id)
        except OSError as error:
            self._drop_stray_sums(file_id)
            raise local_error(error, staged) from error
        except LocalError:
            self._drop_stray_sums(file_id)
            raise

    def _was_adopted(self, file_id: str, staged: Path) -> bool:
        """Return whether a crash came after the rename."""
        return not staged.exists() and self._folder.has_all(file_id)

    async def _prepare(self, file_id: str, staged: Path, layout: Layout, pinned: bool, digest: str | None) -> None:
        """Put the sums of a staged file on the disk for good, before its bytes get their name."""
        sums = await trio.to_thread.run_sync(hash_file, staged, layout)
        if digest is not None and digest != sums.digest:
            raise CorruptionError(f"{staged}: its bytes are not the ones that were uploaded")
        sidecar = self._index.sidecar(file_id, pinned=pinned)
        # Invariant: full sums never stand beside part of the bytes; so what is here goes and nothing may come.
        if not self._index.is_pinned(file_id):
            self._folder.remove(file_id)
        sidecar.parent.mkdir(mode=0o700, exist_ok=True)
        self._running.add(file_id)
        try:
            await trio.to_thread.run_sync(write_durably, sidecar, sums.encode(), "sums")
            self._durability.named(sidecar.parent)
            if sidecar.parent not in self._named:
                self._durability.named(self._folder.path)
                self._named.add(sidecar.parent)
            await self._durability.wait()
            crashpoints.reached("sums are on the disk", file_id)
        finally:
            self._running.discard(file_id)

    def _drop_stray_sums(self, file_id: str) -> None:
        """Remove the sums that a failed adoption left: they must not meet bytes that are fetched later."""
        if not self._index.is_pinned(file_id):
            with suppress(OSError):
                self._index.sidecar(file_id, pinned=True).unlink(missing_ok=True)
