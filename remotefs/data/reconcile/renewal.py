"""The fields of a known file that a listing or its metadata may change: expiry, whether it can be read, size."""

from __future__ import annotations

from remotefs.api.models import FileMetadata
from remotefs.clocks import ServiceClock
from remotefs.data.files.resizing import Resizer
from remotefs.store.records import Remote
from remotefs.store.remotes import Remotes


class Renewer:
    """Updates the rows of known files from the service's records; a changed size resizes the inode."""

    def __init__(self, remotes: Remotes, resizer: Resizer, clock: ServiceClock) -> None:
        self._remotes = remotes
        self._resizer = resizer
        self._clock = clock

    def renew(self, known: Remote, file: FileMetadata) -> None:
        """Save the changed fields; the file counts as present."""
        self._resizer.listed(known, file.size_bytes)
        foreseen = self.foreseen(file, known)
        before = known.expires_ns, bool(known.downloadable), known.foreseen
        if known.missed or before != (file.expires_ns, file.downloadable, foreseen):
            self._remotes.renew(
                known.file_id, expires_ns=file.expires_ns, downloadable=file.downloadable, foreseen=foreseen
            )

    def foreseen(self, file: FileMetadata, known: Remote | None = None) -> int | None:
        """Return the epoch of the service's clock in which the expiry was listed in advance; None if in none (S1)."""
        if self._clock.is_sure and file.expires_ns is not None and file.expires_ns > self._clock.now_ns():
            return self._clock.epoch
        return known.foreseen if known is not None and known.expires_ns == file.expires_ns else None
