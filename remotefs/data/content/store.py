"""Content on this disk by file id: what can be fetched again is evictable, what exists only here is pinned.

An id's content never changes, so bytes once here are right for ever, and a second put of the same is harmless.
Evictable content is never synced: what a crash spoiled does not match its sum and is fetched again. Pinned content is
synced before `adopt` returns, sums first, then the name of the bytes; bytes without sums are kept and shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from remotefs import crashpoints
from remotefs.config import CacheConfig
from remotefs.data.content.chunks import Layout
from remotefs.data.content.file import (
    ContentFile,
    DamagedChunk,
    damaged_chunks,
    hash_file,
    write_durably,
)
from remotefs.data.content.holds import Holds
from remotefs.data.content.index import ContentIndex, Entry
from remotefs.data.content.open_files import OpenFiles
from remotefs.errors import CorruptionError, LocalError, NotReadable, OutOfSpace
from remotefs.store.disk import Disk, local_error
from remotefs.store.durability import Durability

# More than was asked for is evicted, up to this and this part of the limit, so that it is not done for each chunk.
_EVICTION_SLACK_BYTES = 16 * 1024 * 1024
_EVICTION_SLACK_FRACTION = 1 / 16
# The sums of a larger file would take too much memory to be worth it.
_MAX_FILE_BYTES = 1 << 38


@dataclass(frozen=True)
class ContentStatistics:
    """What is here. Before `is_scanned` the figures cover what was asked for so far."""

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
    """Owns the folder. Except for `adopt`, `verify` and `scan` nothing here waits.

    `durability` makes the names of pinned content survive. `is_open` tells of an id whether a file with that content is
    open: it is not evicted then.
    """

    def __init__(
        self,
        folder: Path,
        config: CacheConfig,
        disk: Disk,
        durability: Durability,
        is_open: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._durability = durability
        default = int(config.evictable_fraction * disk.capacity)
        self.limit_bytes = default if config.evictable_bytes is None else config.evictable_bytes
        self.chunk_bytes = config.chunk_bytes
        self._index = ContentIndex(folder)
        self._holds = Holds(is_open)
        self._adopting: set[str] = set()
        # Subfolders whose own names survive a power cut.
        self._named: set[Path] = set()
        self._open = OpenFiles(self._index)
        disk.add_reclaimer(self.reclaim)

    # -- what is here

    def has_all(self, file_id: str) -> bool:
        """Whether every byte is here (as far as is known: damage shows when it is read)."""
        entry = self._index.find(file_id)
        if entry is None or entry.pinned:
            return entry is not None and not entry.is_lost
        file = self._file(file_id)
        return file is not None and file.sums.is_complete

    def is_pinned(self, file_id: str) -> bool:
        """Whether it is here for good."""
        entry = self._index.find(file_id)
        return entry is not None and entry.pinned

    def next_missing(self, file_id: str, layout: Layout, index: int) -> int:
        """The first chunk from `index` on that is not here; the count of chunks when there is none."""
        file = self._file(file_id)
        if file is None or file.sums.layout != layout:
            return index
        return file.sums.next_absent(index)

    def digest_of(self, file_id: str) -> str | None:
        """The xxh3-128 digest of adopted content, in hex."""
        file = self._file(file_id)
        return file.sums.digest if file else None

    def path_of(self, file_id: str) -> Path | None:
        """The local file of complete content, to be copied from; it must not be written to."""
        return self._data(file_id) if self.has_all(file_id) else None

    def where(self, file_id: str) -> Path:
        """Where the bytes of an id lie, whatever of them is here."""
        return self._data(file_id)

    def files_of(self, file_id: str) -> list[Path]:
        """Return the files in which an id that is here lies: its bytes and their sums."""
        return [self._data(file_id), self._sidecar(file_id, pinned=self._entry(file_id).pinned)]

    def kept(self) -> dict[str, Entry]:
        """What is here, by id; after `scan` all of it."""
        return dict(self._index.items())

    def hold(self, file_id: str) -> AbstractContextManager[None]:
        """Keep content from being evicted while it is in use."""
        return self._holds.hold(file_id)

    def statistics(self) -> ContentStatistics:
        """A record of now; it looks at every entry."""
        entries = dict(self._index.items())
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

    # -- bytes in and out

    def read(self, file_id: str, offset: int, size: int) -> bytes | None:
        """Bytes, clipped to the end of the file; None when any is not here.

        Every chunk is checked each time. A damaged one of evictable content is dropped, and so missing; of pinned
        content it raises CorruptionError (R3).
        """
        file = self._file(file_id)
        if file is None:
            return None
        entry = self._entry(file_id)
        entry.used = time.time_ns()
        try:
            return file.read(offset, size)
        except DamagedChunk as error:
            self._damaged(file_id, entry, file, [error.index])
            return None

    def duplicate(self, file_id: str) -> int | None:
        """A descriptor of the bytes of an id, for the caller to close; None when none of them are here.

        Raises CorruptionError, LocalError, OSError.
        """
        file = self._file(file_id)
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
        if file_id in self._adopting:
            raise OutOfSpace(f"{file_id}: its content is just being replaced by that of a staged file")
        try:
            with self.hold(file_id):
                file = self._writable(file_id, layout)
                new = sum(layout.length(index) for index in chunks if index not in file.sums)
                if new:
                    self._make_room(new)
                    file.write(chunks, data)
                    self._index.grow(self._entry(file_id), new)
        except OSError as error:
            raise local_error(error, self._data(file_id)) from error

    async def adopt(self, file_id: str, staged: Path, size: int, *, pinned: bool, digest: str | None = None) -> None:
        """Make a staged file the content of an id, by rename; when this returns, a crash loses nothing of it.

        Its bytes, and the rows that bind them to the id, are on the disk already. A crash or an error before leaves the
        staged file or the complete content: call it again. `digest` is what the bytes must hash to (xxh3-128, hex).
        Raises CorruptionError when they do not or the size differs, LocalError.
        """
        pinned = pinned or self.is_pinned(file_id)
        try:
            if self._was_adopted(file_id, staged):
                self._mark(file_id, pinned=pinned)
            else:
                await self._prepare(file_id, staged, Layout(size, self.chunk_bytes), pinned, digest)
                self._take_over(file_id, staged, size, pinned=pinned)
            self._durability.named(self._data(file_id).parent)
            await self._durability.wait()
            crashpoints.reached("content is on the disk", file_id)
        except OSError as error:
            self._drop_stray_sums(file_id)
            raise local_error(error, staged) from error
        except LocalError:
            self._drop_stray_sums(file_id)
            raise

    async def verify(self, file_id: str) -> bool:
        """Read all that is here of an id and check it; whether it is complete and sound.

        Damaged chunks of evictable content are dropped; of pinned content they raise CorruptionError.
        """
        with self.hold(file_id):
            file = self._file(file_id)
            if file is None:
                return False
            try:
                found = await trio.to_thread.run_sync(damaged_chunks, self._data(file_id), file.sums)
            except OSError as error:
                if self._index.find(file_id) is None:
                    return False  # removed meanwhile
                raise local_error(error, self._data(file_id)) from error
            entry, file = self._index.find(file_id), self._file(file_id)
            if found and entry is not None and file is not None:
                self._damaged(file_id, entry, file, found)
            return not found and self.has_all(file_id)

    # -- keeping and letting go

    def pin(self, file_id: str) -> None:
        """Keep complete content for good; raises NotReadable when not all is here.

        Its bytes are not synced: bytes that exist nowhere else come in by `adopt`.
        """
        if not self.has_all(file_id):
            raise NotReadable(f"{self._data(file_id)}: not all of its bytes are here")
        self._mark(file_id, pinned=True)

    def unpin(self, file_id: str) -> None:
        """Content that can be fetched again may go when room is wanted."""
        if self.is_pinned(file_id):
            self._mark(file_id, pinned=False)

    def remove(self, file_id: str) -> None:
        """Forget an id and its bytes; harmless when it is not here."""
        entry = self._index.find(file_id)
        # The bytes go first: sums without bytes say what was lost, bytes without sums would be orphans.
        self._data(file_id).unlink(missing_ok=True)
        crashpoints.reached("content has lost its bytes", file_id)
        if entry is not None:
            self._open.release(file_id)
            self._sidecar(file_id, pinned=entry.pinned).unlink(missing_ok=True)
        self._index.leave(file_id)
        crashpoints.reached("content is removed", file_id)

    def reclaim(self, size: int) -> None:
        """Evict what was not used for longest until about `size` bytes and some slack are free; maybe fewer."""
        slack = min(_EVICTION_SLACK_BYTES, int(self.limit_bytes * _EVICTION_SLACK_FRACTION))
        self.trim(max(self._index.evictable_bytes - size - slack, 0))

    def trim(self, to_bytes: int) -> tuple[int, int]:
        """Evict what was not used for longest until at most `to_bytes` are evictable; (files, bytes) that went.

        What is in use stays, so maybe fewer.
        """
        files, before = 0, self._index.evictable_bytes
        while self._index.evictable_bytes > to_bytes and (victim := self._index.next_victim(self._holds)):
            self.remove(victim)
            files += 1
        return files, before - self._index.evictable_bytes

    async def scan(self) -> None:
        """Find all that is on the disk, leaving the loop to others in between; some 20 us a file."""
        await self._index.scan()

    def close(self) -> None:
        """Close all descriptors; what was used last is remembered."""
        self._open.close()

    # -- inside

    def _data(self, file_id: str) -> Path:
        return self._index.data(file_id)

    def _sidecar(self, file_id: str, *, pinned: bool) -> Path:
        return self._index.sidecar(file_id, pinned=pinned)

    def _entry(self, file_id: str) -> Entry:
        entry = self._index.find(file_id)
        assert entry is not None, "an open file has an entry"
        return entry

    def _file(self, file_id: str) -> ContentFile | None:
        """The open file of an id; None when nothing of it is here. Raises CorruptionError for pinned content."""
        file = self._open.get(file_id)
        if file is not None:
            return file
        entry = self._index.find(file_id)
        if entry is None:
            return None
        try:
            file = ContentFile.open(self._data(file_id), self._sidecar(file_id, pinned=entry.pinned))
        except (CorruptionError, FileNotFoundError) as error:
            if entry.pinned:
                entry.is_damaged = True
                raise CorruptionError(f"{self._data(file_id)}: the only copy of it is damaged: {error}") from error
            self.remove(file_id)
            return None
        except OSError as error:
            raise local_error(error, self._data(file_id)) from error
        self._open[file_id] = file
        return file

    def _writable(self, file_id: str, layout: Layout) -> ContentFile:
        file = self._file(file_id)
        if file is not None and file.sums.layout == layout:
            return file
        self.remove(file_id)  # of another length, or written with another chunk size
        if layout.size > _MAX_FILE_BYTES:
            raise OutOfSpace(f"{file_id}: {layout.size} bytes are too many to be kept on this disk")
        data = self._data(file_id)
        data.parent.mkdir(mode=0o700, exist_ok=True)
        file = ContentFile.create(data, self._sidecar(file_id, pinned=False), layout)
        self._index.enter(file_id, Entry(pinned=False, stored=0, used=time.time_ns()))
        self._open[file_id] = file
        return file

    def _make_room(self, size: int) -> None:
        excess = self._index.evictable_bytes + size - self.limit_bytes
        if excess > 0:
            self.reclaim(excess)
        if self._index.evictable_bytes + size > self.limit_bytes:
            raise OutOfSpace(f"{self._folder}: the {self.limit_bytes >> 20} MiB for cached content are all in use")
        self._disk.require(size)

    def _damaged(self, file_id: str, entry: Entry, file: ContentFile, chunks: list[int]) -> None:
        if entry.pinned:
            entry.is_damaged = True
            raise CorruptionError(
                f"{self._data(file_id)}: the only copy of it is damaged in {len(chunks)} place(s), from byte "
                f"{file.sums.layout.start(chunks[0])} on"
            )
        for index in chunks:
            file.drop(index)
            self._index.grow(entry, -min(file.sums.layout.length(index), entry.stored))

    def _was_adopted(self, file_id: str, staged: Path) -> bool:
        """Whether a crash came after the rename."""
        return not staged.exists() and self.has_all(file_id)

    async def _prepare(self, file_id: str, staged: Path, layout: Layout, pinned: bool, digest: str | None) -> None:
        """The sums are on the disk for good before the bytes get their name."""
        sums = await trio.to_thread.run_sync(hash_file, staged, layout)
        if digest is not None and digest != sums.digest:
            raise CorruptionError(f"{staged}: its bytes are not the ones that were uploaded")
        sidecar = self._sidecar(file_id, pinned=pinned)
        # Invariant: full sums never stand beside part of the bytes; so what is here goes and nothing may come.
        if not self.is_pinned(file_id):
            self.remove(file_id)
        sidecar.parent.mkdir(mode=0o700, exist_ok=True)
        self._adopting.add(file_id)
        try:
            await trio.to_thread.run_sync(write_durably, sidecar, sums.encode())
            self._durability.named(sidecar.parent)
            if sidecar.parent not in self._named:
                self._durability.named(self._folder)
                self._named.add(sidecar.parent)
            await self._durability.wait()
            crashpoints.reached("sums are on the disk", file_id)
        finally:
            self._adopting.discard(file_id)

    def _take_over(self, file_id: str, staged: Path, size: int, *, pinned: bool) -> None:
        """Invariant: no await in here; a reader sees the old content or the new."""
        self._open.release(file_id)  # of the pinned content that it replaces
        staged.replace(self._data(file_id))
        crashpoints.reached("staged file is content", file_id)
        self._index.enter(file_id, Entry(pinned=pinned, stored=size, used=time.time_ns()))

    def _drop_stray_sums(self, file_id: str) -> None:
        """After a failed adoption: full sums must not meet bytes that are fetched later."""
        if not self.is_pinned(file_id):
            with suppress(OSError):
                self._sidecar(file_id, pinned=True).unlink(missing_ok=True)

    def _mark(self, file_id: str, *, pinned: bool) -> None:
        entry = self._entry(file_id)
        if entry.pinned != pinned:
            self._open.release(file_id)
            self._sidecar(file_id, pinned=entry.pinned).replace(self._sidecar(file_id, pinned=pinned))
            crashpoints.reached("content is pinned" if pinned else "content may be evicted", file_id)
            self._index.enter(file_id, Entry(pinned, entry.stored, entry.used))
