"""The entries of the content folder by id, the places of their files, and the next one to evict.

    FOLDER/ab/<id>           the bytes, sparse; `ab` is a hash of the id
    FOLDER/ab/<id>.pinned    the sums of its chunks; complete, and never evicted
    FOLDER/ab/<id>.cached    the sums of content that may be partial and goes when room is needed

Each of the 256 subfolders is read when one of its ids is first needed, so a mount starts at once however much is here;
`scan` reads the rest. The files are the only record: the name of the sums says whether content is pinned, and the
modification time of the bytes when cached content was last used.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import re
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from remotefs.store.disk import local_error, make_folder

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
PINNED, CACHED = ".pinned", ".cached"
_FOLDERS = 256
# Of up to this many pairs of the heap it does not matter how many are out of date.
_FEW = 64


@dataclass(slots=True)
class Entry:
    """One id: the bytes `stored` on the disk, and when it was last `used` (ns since the epoch)."""

    pinned: bool
    stored: int
    used: int
    # Pinned, and its bytes were found damaged; or gone altogether.
    is_damaged: bool = False
    is_lost: bool = False


class ContentIndex:
    """Owns the entries. It opens no content, and removes only files that a crash left half made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Invariant: holds exactly the ids of the scanned folders that have sums on disk.
        self._entries: dict[str, Entry] = {}
        self._scanned: set[str] = set()
        # Ids whose bytes are here without their sums.
        self.orphans: set[str] = set()
        # Invariant: the sum of `stored` over the evictable entries.
        self.evictable_bytes = 0
        # A heap of (used, id) with every evictable entry. A read changes `used` alone; the heap learns it when the old
        # pair comes up. Pairs of entries that have left stay until they come up, or until they are the most.
        self._by_age: list[tuple[int, str]] = []
        make_folder(folder)

    @property
    def is_scanned(self) -> bool:
        """Return whether all subfolders were read."""
        return len(self._scanned) == _FOLDERS

    def items(self) -> Iterator[tuple[str, Entry]]:
        """Return the ids and entries that are known so far."""
        return iter(self._entries.items())

    def data(self, file_id: str) -> Path:
        """Return where the bytes of an id lie."""
        assert _ID.fullmatch(file_id), "ids are checked where they come in; no other is safe in a path"
        return self._folder / folder_of(file_id) / file_id

    def sidecar(self, file_id: str, *, pinned: bool) -> Path:
        """Return where the sums of an id lie."""
        return self.data(file_id).with_name(file_id + (PINNED if pinned else CACHED))

    def find(self, file_id: str) -> Entry | None:
        """Return the entry of an id; None when it is not here. Raises LocalError when nobody can tell now."""
        entry = self._entries.get(file_id)
        if entry is None:
            assert _ID.fullmatch(file_id), "ids are checked where they come in; no other is safe in a path"
            self._load(folder_of(file_id))
            entry = self._entries.get(file_id)
        return entry

    def is_pinned(self, file_id: str) -> bool:
        """Return whether an id is here for good."""
        entry = self.find(file_id)
        return entry is not None and entry.pinned

    def enter(self, file_id: str, entry: Entry) -> None:
        """Add an id, or put another entry in its place."""
        self.leave(file_id)
        self._entries[file_id] = entry
        if not entry.pinned:
            self.evictable_bytes += entry.stored
            heapq.heappush(self._by_age, (entry.used, file_id))
            if len(self._by_age) > 2 * len(self._entries) + _FEW:
                self._by_age = [(known.used, id_) for id_, known in self._entries.items() if not known.pinned]
                heapq.heapify(self._by_age)

    def leave(self, file_id: str) -> None:
        """Forget an id."""
        self.orphans.discard(file_id)
        entry = self._entries.pop(file_id, None)
        if entry is not None and not entry.pinned:
            self.evictable_bytes -= entry.stored

    def grow(self, entry: Entry, size: int) -> None:
        """Add `size` bytes, or with a negative `size` take them away, and note that the entry was used now."""
        entry.stored += size
        entry.used = time.time_ns()
        self.evictable_bytes += size

    def next_victim(self, spared: Container[str]) -> str | None:
        """Return the least recently used evictable id that is not in `spared`; None when there is none."""
        passed_over = []
        victim = None
        while victim is None and self._by_age:
            used, file_id = heapq.heappop(self._by_age)
            entry = self._entries.get(file_id)
            if entry is None or entry.pinned:
                continue
            if entry.used != used:
                heapq.heappush(self._by_age, (entry.used, file_id))
                continue
            passed_over.append((used, file_id))
            if file_id not in spared:
                victim = file_id
        for item in passed_over:
            heapq.heappush(self._by_age, item)
        return victim

    async def scan(self) -> None:
        """Read all subfolders, one at a time, leaving the loop to others in between."""
        for number in range(_FOLDERS):
            self._load(f"{number:02x}")
            await trio.lowlevel.checkpoint()

    def _load(self, name: str) -> None:
        """Read a subfolder, once. Raises LocalError; it is read again then, for nothing in it may count as absent."""
        if name in self._scanned:
            return
        folder = self._folder / name
        try:
            if folder.exists():
                with os.scandir(folder) as entries:
                    self._take_in({entry.name: entry for entry in entries})
        except OSError as error:
            raise local_error(error, folder) from error
        self._scanned.add(name)

    def _take_in(self, found: Mapping[str, os.DirEntry[str]]) -> None:
        for entry in found.values():
            file_id, dot, kind = entry.name.partition(".")
            has_pinned, has_cached = file_id + PINNED in found, file_id + CACHED in found
            if not _ID.fullmatch(file_id):
                continue
            if not dot and not (has_pinned or has_cached):
                self.orphans.add(file_id)
            elif dot and (kind == PINNED[1:] or (kind == CACHED[1:] and not has_pinned)):
                self._recover(file_id, entry, found.get(file_id), pinned=has_pinned)
            elif dot:  # sums that a crash left half written or about to be removed
                Path(entry).unlink()

    def _recover(self, file_id: str, sidecar: os.DirEntry[str], data: os.DirEntry[str] | None, *, pinned: bool) -> None:
        if data is not None:
            status = data.stat(follow_symlinks=False)
            stored = status.st_size if pinned else min(status.st_size, status.st_blocks * 512)
            self.enter(file_id, Entry(pinned, stored, status.st_mtime_ns))
        elif pinned:  # lost, or a crash came within `adopt`, which is then called again
            self.enter(file_id, Entry(pinned=True, stored=0, used=0, is_damaged=True, is_lost=True))
        else:
            Path(sidecar).unlink()  # a crash came while cached content was made or removed


def folder_of(file_id: str) -> str:
    """Return the name of the subfolder of an id: one of 256, which share the ids evenly."""
    return hashlib.blake2b(file_id.encode(), digest_size=1).hexdigest()
