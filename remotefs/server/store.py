"""The files of a server: rows (`Catalog`), bytes (`Blobs`), and the order in which the two change.

    add       bytes written ─► synced, renamed ─► row committed      delete    row removed ─► bytes removed

Invariant: a row is committed after its bytes are on the disk under their final name, and removed before they are freed.
So `kill -9` at any moment leaves at most bytes without a row, and `sweep` frees those.

Several processes may have one store open: a running server, and a command that adds a generated file.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from remotefs.server.blobs import Arrival, Blobs
from remotefs.server.catalog import Catalog, resolve
from remotefs.server.errors import ApiError, no_such_file, not_downloadable
from remotefs.server.names import accepted_name, guessed_type
from remotefs.server.queries import Cursor, ListQuery, Page
from remotefs.server.records import LISTED_AFTER_EXPIRY_S, FileRecord

Content = bytes | Path | BinaryIO

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_COPY_BYTES = 1 << 20
_SWEEP_BATCH = 500
_NO_QUOTA = 1 << 62


class Store:
    """A store in the folder `root`, which is made if it does not exist.

    `clock` returns seconds since the epoch. Raises ServerError if the database has another version.
    """

    def __init__(self, root: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._blobs = Blobs(root)
        self._catalog = Catalog(root / "files.db")
        self.organization_id = self._catalog.constant("organization_id", _uuid_like())

    def close(self) -> None:
        """Close the database."""
        self._catalog.close()

    def begin(self) -> Arrival:
        """Return a new file to write to: a context manager. It is invisible until it is committed."""
        return self._blobs.begin("file_" + random_text(24))

    def commit(
        self,
        arrival: Arrival,
        filename: str,
        mime_type: str,
        *,
        downloadable: bool,
        expires_in_s: int | None = None,
        session_id: str | None = None,
        quota_bytes: int = _NO_QUOTA,
    ) -> FileRecord:
        """Make a written file visible and return its record. Blocks until both survive a power cut.

        Raises ApiError (400 `storage_quota_exceeded`).
        """
        created_us = self._now_us()
        expires_us = None if expires_in_s is None else created_us + expires_in_s * 1_000_000
        size = arrival.size_bytes
        record = FileRecord(arrival.id, created_us, filename, mime_type, size, downloadable, expires_us, session_id)
        arrival.publish()
        try:
            return self._catalog.add(record, quota_bytes)
        except BaseException:
            arrival.withdraw()
            raise

    def add(
        self,
        filename: str,
        content: Content,
        *,
        mime_type: str | None = None,
        downloadable: bool,
        expires_in_s: int | None = None,
        session_id: str | None = None,
    ) -> FileRecord:
        """Add a file without a request and return its record. A negative `expires_in_s` makes an expired file.

        Raises ApiError (400) for a filename that the service refuses.
        """
        kind = mime_type or guessed_type(filename)
        name = accepted_name(filename, kind)
        with self.begin() as arrival:
            _fill(arrival, content)
            return self.commit(
                arrival, name, kind, downloadable=downloadable, expires_in_s=expires_in_s, session_id=session_id
            )

    def add_generated(
        self,
        filename: str,
        content: Content,
        *,
        mime_type: str | None = None,
        session_id: str | None = None,
    ) -> FileRecord:
        """Add a downloadable file, as the code execution tool does, and return its record."""
        return self.add(filename, content, mime_type=mime_type, downloadable=True, session_id=session_id)

    def get(self, file_id: str) -> FileRecord:
        """Return the record of an id. Raises ApiError (404)."""
        record = self._catalog.get(file_id)
        if record is None:
            raise no_such_file(file_id)
        return record

    def list(self, query: ListQuery, page: Cursor | None = None) -> Page:
        """Return a page of the listing. Raises ApiError (400) for a cursor that does not name a file."""
        return resolve(self._catalog, query, page)

    def open_content(self, file_id: str) -> tuple[FileRecord, int]:
        """Return the record of a file and a descriptor on its bytes, which the caller closes.

        Raises ApiError: 404, 404 `file_expired`, 400 `file_not_downloadable`.
        """
        record = self.get(file_id)
        if record.expires_us is not None and record.expires_us <= self._now_us():
            raise ApiError(404, f"File has expired: {file_id}", error_code="file_expired")
        if not record.downloadable:
            raise not_downloadable(file_id)
        try:
            # A DELETE in another thread may have removed the bytes since the row was read.
            return record, self._blobs.open(file_id)
        except FileNotFoundError as error:
            raise no_such_file(file_id) from error

    def delete(self, file_id: str) -> None:
        """Remove a file permanently. Blocks. Raises ApiError (404)."""
        if not self._catalog.remove(file_id):
            raise no_such_file(file_id)
        self._blobs.remove(file_id)

    def used_bytes(self) -> int:
        """Return the sum of the sizes of all files, in bytes."""
        return self._catalog.used_bytes()

    def sweep(self) -> int:
        """Remove leftovers of killed processes and long-expired files; return how many were removed. Blocks."""
        gone_us = self._now_us() - LISTED_AFTER_EXPIRY_S * 1_000_000
        removed = 0
        while expired := self._catalog.expired_before(gone_us, _SWEEP_BATCH):
            for file_id in expired:
                self._catalog.remove(file_id)
                self._blobs.remove(file_id)
            removed += len(expired)
        for ids in self._blobs.ids(_SWEEP_BATCH):
            removed += sum(map(self._sweep_one, self._catalog.missing(ids)))
        return removed

    def _sweep_one(self, file_id: str) -> bool:
        return self._blobs.remove_abandoned(file_id, lambda name: bool(self._catalog.missing([name])))

    def _now_us(self) -> int:
        return int(self._clock() * 1_000_000)


def random_text(length: int) -> str:
    """Return `length` random base58 characters, as in the service's ids."""
    return "".join(secrets.choice(_BASE58) for _ in range(length))


def _uuid_like() -> str:
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _fill(arrival: Arrival, content: Content) -> None:
    if isinstance(content, bytes):
        arrival.write([content])
    elif isinstance(content, Path):
        with content.open("rb") as file:
            _fill(arrival, file)
    else:
        while chunk := content.read(_COPY_BYTES):
            arrival.write([chunk])
