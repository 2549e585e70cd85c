"""The fields of a known file that a listing or its metadata may change: expiry, whether it can be read, size.

What never changes at the service is its name, its type and its date. A reply that shows another is wrong, or an earlier
one was: what two listings agree on is taken (S4).
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.api.entries import UNKNOWN_NS
from remotefs.api.models import FileMetadata
from remotefs.clocks import ServiceClock
from remotefs.data.content.store import ContentStore
from remotefs.data.files.resizing import Resizer
from remotefs.data.reconcile.placement import TreePlacer
from remotefs.store.records import Origin, Remote
from remotefs.store.remotes import Remotes

# Files that are listed otherwise than they are known. A listing that shows more of them says nothing.
_MOST = 10_000


class _Lasting(NamedTuple):
    """What never changes at the service."""

    filename: str
    mime_type: str
    created_ns: int


class Renewer:
    """Updates the rows of known files from the service's records; a changed size resizes the inode.

    Owns what the last listings showed otherwise than it is known. A restart begins to count anew.
    """

    def __init__(
        self, remotes: Remotes, content: ContentStore, resizer: Resizer, placer: TreePlacer, clock: ServiceClock
    ) -> None:
        self._remotes = remotes
        self._content = content
        self._resizer = resizer
        self._placer = placer
        self._clock = clock
        self._listing = 0
        # By id the number of the listing, and what it showed.
        self._otherwise: dict[str, tuple[int, _Lasting]] = {}

    def listing_begins(self) -> None:
        """Tell what a listing shows from what the one before it showed."""
        self._listing += 1

    def renew(self, known: Remote, file: FileMetadata) -> None:
        """Save the changed fields; the file counts as present."""
        self._resizer.listed(known, file.size_bytes)
        foreseen = self.foreseen(file, known)
        before = known.expires_ns, bool(known.downloadable), known.foreseen
        if known.missed or before != (file.expires_ns, file.downloadable, foreseen):
            self._remotes.renew(
                known.file_id, expires_ns=file.expires_ns, downloadable=file.downloadable, foreseen=foreseen
            )
        if known.origin != Origin.FOREIGN:
            self._content.listed(known.file_id, is_sole=not file.downloadable and bool(known.downloadable))
        self._compare(known, _lasting(file, known))

    def foreseen(self, file: FileMetadata, known: Remote | None = None) -> int | None:
        """Return the epoch of the service's clock in which the expiry was listed in advance; None if in none (S1)."""
        if self._clock.is_sure and file.expires_ns is not None and file.expires_ns > self._clock.now_ns():
            return self._clock.epoch
        return known.foreseen if known is not None and known.expires_ns == file.expires_ns else None

    def _compare(self, known: Remote, shown: _Lasting) -> None:
        if shown == (known.filename, known.mime_type, known.created_ns):
            self._otherwise.pop(known.file_id, None)
            return
        number, before = self._otherwise.get(known.file_id, (self._listing, None))
        if before == shown and number != self._listing:
            del self._otherwise[known.file_id]
            self._correct(known, shown)
        elif before is not None or len(self._otherwise) < _MOST:
            self._otherwise[known.file_id] = self._listing, shown

    def _correct(self, known: Remote, shown: _Lasting) -> None:
        # A file of ours keeps its path: that is the name which its upload asked for (N2).
        asked = known.asked if known.origin == Origin.FOREIGN else known.asked_name
        remote = known._replace(**shown._asdict(), asked=asked)
        inode = self._placer.shown_by(known)
        self._remotes.correct(remote)
        if inode is not None and known.origin == Origin.FOREIGN:
            self._placer.correct(inode, known, remote)


def _lasting(file: FileMetadata, known: Remote) -> _Lasting:
    """Return what a reply shows; a date that it does not tell is the one that is known."""
    created_ns = known.created_ns if file.created_ns == UNKNOWN_NS else file.created_ns
    return _Lasting(file.filename, file.mime_type, created_ns)
