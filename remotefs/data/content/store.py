"""Content on this disk by file id: chunks are put in and read back, whole files are pinned, verified and removed.

An id's content never changes, so bytes once here are right for ever, and a second put of the same is harmless.
Cached content is never synced: what a crash spoiled does not match its sum and is fetched again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import trio

from remotefs.config import CacheConfig
from remotefs.data.content.adoption import Adoption
from remotefs.data.content.chunks import Layout, Sums
from remotefs.data.content.eviction import Eviction
from remotefs.data.content.file import ContentFile, DamagedChunk, damaged_chunks, hash_file
from remotefs.data.content.folder import ContentFolder
from remotefs.data.content.index import Entry
from remotefs.errors import CorruptionError, NotReadable, OutOfSpace
from remotefs.store.disk import Disk, local_error
from remotefs.store.durability import Durability

_log = logging.getLogger(__name__)
# The sums of a larger file would take too much memory to be worth it.
_MAX_FILE_BYTES = 1 << 38


@dataclass(frozen=True)
class ContentStatistics:
    """The figures of the content folder. Before `is_scanned` they cover the ids that were asked for so far."""

    pinned_files: int
    pinned_bytes: int
    evictable_files: int
    evictable_bytes: int
    evictable_limit_bytes: int
    # Ids whose only copy is damaged or gone.
    damaged: tuple[str, ...]
    # Ids whose bytes are here without their sums: never read, never removed by itself.
    orphans: tuple[str, ...]
    is_scanned: bool


class ContentStore:
    """The content folder as the rest of the mount sees it. Only `adopt`, `verify`, `renew_sums` and `scan` wait.

    `durability` makes the names of pinned content survive a power cut. `is_open` says of an id whether a file with that
    content is open: it is not evicted then. `digest_of` gives the xxh3-128 of all its bytes in hex, where it is known.
    """

    def __init__(
        self,
        folder: Path,
        config: CacheConfig,
        disk: Disk,
        durability: Durability,
        is_open: Callable[[str], bool] = lambda _: False,
        digest_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self.chunk_bytes = config.chunk_bytes
        self._folder = ContentFolder(folder)
        self._index = self._folder.index
        self._disk = disk
        self._eviction = Eviction(self._folder, config, disk, is_open)
        self._adoption = Adoption(self._folder, durability)
        self._digest_of = digest_of
        # Pinned ids whose bytes are not those of their digest, or have none: their sums cannot be made anew.
        self._spoiled: set[str] = set()

    # -- what is here

    @property
    def limit_bytes(self) -> int:
        """Return the bytes that cached content may take."""
        return self._eviction.limit_bytes

    def check_fits(self, file_id: str, size_bytes: int) -> None:
        """Raise OutOfSpace for content that no disk of this size could ever hold, as a listing may claim it."""
        if size_bytes > self._disk.capacity:
            raise OutOfSpace(f"{file_id}: its {size_bytes:,} bytes are more than the whole disk of the state folder")

    @property
    def evictable_bytes(self) -> int:
        """Return the bytes of cached content."""
        return self._index.evictable_bytes

    def has_all(self, file_id: str) -> bool:
        """Return whether every byte is here, as far as is known: damage shows when it is read."""
        return self._folder.has_all(file_id)

    def is_pinned(self, file_id: str) -> bool:
        """Return whether an id is here for good."""
        return self._index.is_pinned(file_id)

    def is_damaged(self, file_id: str) -> bool:
        """Return whether the only copy of an id was found damaged or gone."""
        entry = self._index.find(file_id)
        return entry is not None and entry.is_damaged

    def next_missing(self, file_id: str, layout: Layout, index: int) -> int:
        """Return the first chunk from `index` on that is not here; the count of chunks when there is none."""
        file = self._folder.file(file_id)
        if file is None or file.sums.layout != layout:
            return index
        return file.sums.next_absent(index)

    def path_of(self, file_id: str) -> Path | None:
        """Return the local file of complete content, to be copied from and never written to; None where it is not."""
        return self.where(file_id) if self.has_all(file_id) else None

    def where(self, file_id: str) -> Path:
        """Return where the bytes of an id lie, whatever of them is here."""
        return self._index.data(file_id)

    def sums_of(self, file_id: str) -> Sums | None:
        """Return the sums of complete content whose digest is known; None where it is not here, or not known."""
        file = self._folder.file(file_id) if self.has_all(file_id) else None
        return file.sums if file is not None and file.sums.is_complete and file.sums.digest else None

    def files_of(self, file_id: str) -> list[Path]:
        """Return the files in which an id that is here lies: its bytes and their sums."""
        return [self.where(file_id), self._index.sidecar(file_id, pinned=self._folder.entry(file_id).pinned)]

    def kept(self) -> dict[str, Entry]:
        """Return the entries by id; after `scan` of all that is here."""
        return dict(self._index.items())

    def statistics(self) -> ContentStatistics:
        """Return the figures of now; it looks at every entry."""
        entries = self.kept()
        pinned = [entry.stored for entry in entries.values() if entry.pinned]
        return ContentStatistics(
            pinned_files=len(pinned),
            pinned_bytes=sum(pinned),
            evictable_files=len(entries) - len(pinned),
            evictable_bytes=self._index.evictable_bytes,
            evictable_limit_bytes=self.limit_bytes,
            damaged=tuple(sorted(file_id for file_id, entry in entries.items() if entry.is_damaged)),
            orphans=tuple(sorted(self._index.orphans)),
            is_scanned=self._index.is_scanned,
        )

    @property
    def is_scanned(self) -> bool:
        """Return whether all that is on the disk was found."""
        return self._index.is_scanned

    async def scan(self) -> None:
        """Find all that is on the disk, leaving the loop to others in between; some 20 us a file."""
        await self._index.scan()

    # -- bytes in and out

    def read(self, file_id: str, offset: int, size: int) -> bytes | None:
        """Return bytes, clipped to the end of the file; None when any of them is not here.

        Every chunk is checked each time. A damaged chunk of cached content is dropped, and so missing; in pinned
        content it raises CorruptionError (R3).
        """
        file = self._folder.file(file_id)
        if file is None:
            return None
        entry = self._folder.entry(file_id)
        entry.used = time.time_ns()
        try:
            return file.read(offset, size)
        except DamagedChunk as error:
            self._damaged(file_id, entry, file, [error.index])
            return None

    def duplicate(self, file_id: str) -> int | None:
        """Return a descriptor of the bytes of an id, for the caller to close; None when none of them are here.

        Raises CorruptionError, LocalError, OSError.
        """
        file = self._folder.file(file_id)
        return file.duplicate() if file is not None else None

    def put(self, file_id: str, size: int, offset: int, data: bytes) -> None:
        """Store whole chunks of a file of `size` bytes (its last may be short; all of an empty file is b"").

        Raises OutOfSpace, StateUnusable; the bytes then are not here.
        """
        layout = Layout(size, self.chunk_bytes)
        chunks = layout.touching(offset, len(data))
        whole = layout.start(chunks.start), layout.start(chunks.stop) - layout.start(chunks.start)
        assert not data or (offset, len(data)) == whole, "no whole chunks"
        if self.is_pinned(file_id):
            return
        if self._adoption.is_running(file_id):
            raise OutOfSpace(f"{file_id}: its content is just being replaced by that of a staged file")
        try:
            with self.hold(file_id):
                file = self._writable(file_id, layout)
                new = sum(layout.length(index) for index in chunks if index not in file.sums)
                if new:
                    self._eviction.make_room(new)
                    file.write(chunks, data)
                    self._index.grow(self._folder.entry(file_id), new)
        except OSError as error:
            raise local_error(error, self.where(file_id)) from error

    async def adopt(self, file_id: str, staged: Path, size: int, *, pinned: bool, digest: str | None = None) -> None:
        """Make a staged file of `size` bytes the content of an id; see `Adoption.adopt`."""
        layout = Layout(size, self.chunk_bytes)
        await self._adoption.adopt(file_id, staged, layout, pinned=pinned, digest=digest)

    async def verify(self, file_id: str) -> bool:
        """Read and check all that is here of an id; return whether it is complete and sound.

        Damaged chunks of cached content are dropped; in pinned content they raise CorruptionError, unless it is their
        sums that are damaged.
        """
        try:
            return await self._verify(file_id)
        except CorruptionError:
            if not await self.renew_sums(file_id):
                raise
            return await self._verify(file_id)

    async def renew_sums(self, file_id: str) -> bool:
        """Make the sums of pinned content anew, if they are damaged and its bytes are whole; return whether they were.

        For content that was found damaged. It reads all bytes, once in a run.
        """
        entry, digest = self._index.find(file_id), self._digest_of(file_id)
        if entry is None or not entry.pinned or entry.is_lost or digest is None or file_id in self._spoiled:
            return False
        path = self.where(file_id)
        try:
            layout = Layout(path.stat().st_size, self.chunk_bytes)
            sums = await trio.to_thread.run_sync(hash_file, path, layout)
            if sums.digest != digest:
                self._spoiled.add(file_id)
                return False
            if self._index.find(file_id) is not entry:
                return False  # removed or replaced meanwhile
            # Not synced: after a power cut they are made anew.
            self._folder.renew_sums(file_id, sums)
        except (OSError, CorruptionError):
            return False
        _log.warning("%s: the sums beside it were damaged, its bytes are whole", path)
        return True

    async def _verify(self, file_id: str) -> bool:
        with self.hold(file_id):
            file = self._folder.file(file_id)
            if file is None:
                return False
            try:
                found = await trio.to_thread.run_sync(damaged_chunks, self.where(file_id), file.sums)
            except OSError as error:
                if self._index.find(file_id) is None:
                    return False  # removed meanwhile
                raise local_error(error, self.where(file_id)) from error
            entry, file = self._index.find(file_id), self._folder.file(file_id)
            if found and entry is not None and file is not None:
                self._damaged(file_id, entry, file, found)
            return not found and self.has_all(file_id)

    # -- keeping and letting go

    def pin(self, file_id: str) -> None:
        """Keep complete content for good; raises NotReadable when not all is here.

        Its bytes are not synced: bytes that exist nowhere else come in by `adopt`.
        """
        if not self.has_all(file_id):
            raise NotReadable(f"{self.where(file_id)}: not all of its bytes are here")
        self._folder.mark(file_id, pinned=True)

    def unpin(self, file_id: str) -> None:
        """Let content go when room is needed, because it can be fetched again."""
        if self.is_pinned(file_id):
            self._folder.mark(file_id, pinned=False)

    def keep_until_listed(self, file_id: str) -> None:
        """Keep the content of an upload from being evicted until a listing shows the file, in this run of the mount."""
        self._eviction.in_use.unlisted.add(file_id)

    def listed(self, file_id: str, *, is_sole: bool) -> None:
        """Take note that a listing shows a file; `is_sole`: by the listing, nobody gives its bytes back."""
        self._eviction.in_use.unlisted.discard(file_id)
        if is_sole and not self.is_pinned(file_id) and self.has_all(file_id):
            self._folder.mark(file_id, pinned=True)

    def hold(self, file_id: str) -> AbstractContextManager[None]:
        """Keep content from being evicted while the block lasts."""
        return self._eviction.in_use.hold(file_id)

    def reclaim(self, size: int) -> None:
        """Evict content until about `size` bytes and some slack are free; see `Eviction.reclaim`."""
        self._eviction.reclaim(size)

    def kept_bytes(self, file_id: str) -> int:
        """Return the bytes of pinned content that is whole; 0 for any other."""
        entry = self._index.find(file_id)
        return entry.stored if entry is not None and entry.pinned and not entry.is_damaged else 0

    def last_used_ns(self, file_id: str) -> int:
        """Return when content that is here was last read, in ns since the epoch."""
        return self._folder.entry(file_id).used

    def let_mend(self, file_id: str) -> None:
        """Let damaged pinned content be fetched again, because there is another copy; what is whole of it stays."""
        entry = self._index.find(file_id)
        if entry is not None and entry.pinned and entry.is_lost:
            self._folder.remove(file_id)
        elif entry is not None and entry.pinned:
            self._folder.mark(file_id, pinned=False)

    def give_up(self, file_id: str) -> int:
        """Remove pinned content of which there is another copy; return the bytes that went, 0 where it is in use."""
        size = self.kept_bytes(file_id)
        if not size or file_id in self._eviction.in_use:
            return 0
        # Cached first: a crash between the two removals must not look like the loss of the only copy.
        self._folder.mark(file_id, pinned=False)
        self._folder.remove(file_id)
        return size

    def trim(self, to_bytes: int) -> tuple[int, int]:
        """Evict content until at most `to_bytes` of it are left; return how many files and bytes went."""
        return self._eviction.trim(to_bytes)

    def remove(self, file_id: str) -> None:
        """Forget an id and remove its bytes; harmless when it is not here."""
        self._eviction.in_use.unlisted.discard(file_id)
        self._folder.remove(file_id)

    def close(self) -> None:
        """Close all descriptors; the times of last use are kept on the disk."""
        self._folder.close()

    # -- inside

    def _writable(self, file_id: str, layout: Layout) -> ContentFile:
        file = self._folder.file(file_id)
        if file is not None and file.sums.layout == layout:
            return file
        if self._folder.has_any(file_id):
            self.remove(file_id)  # of another length, or written with another chunk size
        if layout.size > _MAX_FILE_BYTES:
            raise OutOfSpace(f"{file_id}: {layout.size} bytes are too many to be kept on this disk")
        return self._folder.create(file_id, layout)

    def _damaged(self, file_id: str, entry: Entry, file: ContentFile, chunks: list[int]) -> None:
        if entry.pinned:
            entry.is_damaged = True
            raise CorruptionError(
                f"{self.where(file_id)}: the only copy of it is damaged in {len(chunks)} place(s), from byte "
                f"{file.sums.layout.start(chunks[0])} on"
            )
        for index in chunks:
            file.drop(index)
            self._index.grow(entry, -min(file.sums.layout.length(index), entry.stored))
