"""The content folder at work: its entries, and their files opened, made, marked and removed.

`ContentStore`, `Eviction` and `Adoption` share one, so an id has one entry and one pair of descriptors in a process.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from remotefs import crashpoints
from remotefs.data.content.chunks import Layout, Sums
from remotefs.data.content.file import ContentFile
from remotefs.data.content.index import ContentIndex, Entry
from remotefs.data.content.open_files import OpenFiles
from remotefs.errors import CorruptionError
from remotefs.store.disk import local_error

# Two descriptors each; the usual limit of a process is 1,024.
_MOST_OPEN = 128


class ContentFolder:
    """Owns the index of the folder and the descriptors of its files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index = ContentIndex(path)
        self._open: OpenFiles[str, ContentFile] = OpenFiles(_MOST_OPEN, self._close_one)

    def entry(self, file_id: str) -> Entry:
        """Return the entry of an id that is here."""
        entry = self.index.find(file_id)
        assert entry is not None, "an open file has an entry"
        return entry

    def has_all(self, file_id: str) -> bool:
        """Return whether every byte of an id is here, as far as is known: damage shows when it is read."""
        entry = self.index.find(file_id)
        if entry is None or entry.pinned:
            return entry is not None and not entry.is_lost
        file = self.file(file_id)
        return file is not None and file.sums.is_complete

    def file(self, file_id: str) -> ContentFile | None:
        """Return the open file of an id; None when nothing of it is here.

        Cached content that is damaged is removed. Raises CorruptionError when pinned content is damaged, LocalError.
        """
        file = self._open.get(file_id)
        if file is not None:
            return file
        entry = self.index.find(file_id)
        if entry is None:
            return None
        data = self.index.data(file_id)
        try:
            file = ContentFile.open(data, self.index.sidecar(file_id, pinned=entry.pinned))
        except (CorruptionError, FileNotFoundError) as error:
            if entry.pinned:
                entry.is_damaged = True
                raise CorruptionError(f"{data}: the only copy of it is damaged: {error}") from error
            with suppress(OSError):  # it is forgotten in any case
                self.remove(file_id)
            return None
        except OSError as error:
            raise local_error(error, data) from error
        self._open[file_id] = file
        return file

    def create(self, file_id: str, layout: Layout) -> ContentFile:
        """Make the file of an id that is not here: cached, without any chunk. Raises OSError."""
        data = self.index.data(file_id)
        sidecar = self.index.sidecar(file_id, pinned=False)
        try:
            file = ContentFile.create(data, sidecar, layout)
        except FileNotFoundError:
            data.parent.mkdir(mode=0o700, exist_ok=True)
            file = ContentFile.create(data, sidecar, layout)
        self.index.enter(file_id, Entry(pinned=False, stored=0, used=time.time_ns()))
        self._open[file_id] = file
        return file

    def replace(self, file_id: str, staged: Path, entry: Entry) -> None:
        """Make a staged file the bytes of an id, whose sums are beside them already, by rename. Raises OSError.

        Invariant: no await in here; a reader sees the old content or the new.
        """
        self._open.release(file_id)  # of the pinned content that it replaces
        staged.replace(self.index.data(file_id))
        crashpoints.reached("staged file is content", file_id)
        self.index.enter(file_id, entry)

    def mark(self, file_id: str, *, pinned: bool) -> None:
        """Make an id that is here pinned or cached: its sums get the other name. Raises OSError."""
        entry = self.entry(file_id)
        if entry.pinned != pinned:
            self._open.release(file_id)
            self.index.sidecar(file_id, pinned=entry.pinned).replace(self.index.sidecar(file_id, pinned=pinned))
            crashpoints.reached("content is pinned" if pinned else "content may be evicted", file_id)
            self.index.enter(file_id, Entry(pinned, entry.stored, entry.used))

    def renew_sums(self, file_id: str, sums: Sums) -> None:
        """Put other sums beside pinned content, whose bytes they are those of. Raises OSError."""
        entry = self.entry(file_id)
        sidecar = self.index.sidecar(file_id, pinned=True)
        new = sidecar.with_name(sidecar.name + ".new")
        new.write_bytes(sums.encode())
        self._open.release(file_id)
        new.replace(sidecar)
        entry.is_damaged = False

    def has_any(self, file_id: str) -> bool:
        """Return whether there may be anything of an id on this disk."""
        return self.index.find(file_id) is not None or file_id in self.index.orphans

    def remove(self, file_id: str) -> None:
        """Forget an id and remove its bytes; harmless when it is not here.

        Raises OSError; then cached content is forgotten all the same, because it may be what nobody must read again.
        """
        entry = self.index.find(file_id)
        # The bytes go first: sums without bytes say what was lost, bytes without sums would be orphans.
        try:
            self.index.data(file_id).unlink(missing_ok=True)
        except OSError:
            if entry is not None and not entry.pinned:
                self._orphan(file_id)
            raise
        crashpoints.reached("content has lost its bytes", file_id)
        if entry is not None:
            self._open.release(file_id)
            self.index.sidecar(file_id, pinned=entry.pinned).unlink(missing_ok=True)
        self.index.leave(file_id)
        crashpoints.reached("content is removed", file_id)

    def _orphan(self, file_id: str) -> None:
        """Forget cached content whose bytes cannot be removed."""
        self._open.release(file_id)
        with suppress(OSError):
            self.index.sidecar(file_id, pinned=False).unlink(missing_ok=True)
        self.index.leave(file_id)
        self.index.orphans.add(file_id)

    def close(self) -> None:
        """Close all descriptors; the times of last use are kept on the disk."""
        self._open.close()

    def _close_one(self, file_id: str, file: ContentFile) -> None:
        entry = self.index.find(file_id)
        file.close(None if entry is None or entry.pinned else entry.used)
