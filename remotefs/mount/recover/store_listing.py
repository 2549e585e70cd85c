"""Fills a tree from the store alone: from the ids that have an object, where the service cannot be listed.

The store keeps no names but those that the listing does not tell. So a file without one is shown by its id.
"""

from __future__ import annotations

from typing import NamedTuple

from remotefs.api.entries import UNKNOWN_TYPE, FileMetadata
from remotefs.control.messages.base import Listing, Report
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.header import file_bytes
from remotefs.data.share.inventory import StoredObject, accounts_in, objects_in
from remotefs.data.share.records import FileRecord, file_key
from remotefs.data.share.shared_records import record_of
from remotefs.errors import UsageError
from remotefs.mount.assembly import Components
from remotefs.names import encode
from remotefs.store.shared_log import SharedLog

# The folder of the files whose names are not known.
BY_ID = "by-id"


class _StoredFile(NamedTuple):
    """A file whose object is in the store: its id, its size in bytes, and when it was put (ns since the epoch)."""

    file_id: str
    size: int
    put_ns: int


async def choose_account(connection: StoreConnection, chosen: str | None) -> str:
    """Return the account to read: the chosen one, else the only one. Raises UsageError, ObjectStoreError."""
    found = await accounts_in(connection)
    if chosen is not None and chosen in found:
        return chosen
    names = ", ".join(found) or "none"
    if chosen is not None:
        raise UsageError(f"{connection.url}: the shared store has no account {chosen}; it has {names}")
    if len(found) != 1:
        raise UsageError(f"{connection.url}: choose one of its accounts with --account: the shared store has {names}")
    return found[0]


async def list_store(parts: Components, connection: StoreConnection, account: str, report: Report) -> None:
    """Show each file that has an object in the tree. Raises ObjectStoreError, OutOfSpace."""
    files: list[_StoredFile] = []
    async for page in objects_in(connection, account):
        files += [file for found in page.objects if (file := _file_of(found)) is not None]
        report(Listing(files=len(files)))
    _leave_names_to_the_newest(files, parts.store.shared_log)
    parts.merger.listing_begins()
    await parts.merger.merge([_metadata(file) for file in files])
    await parts.merger.resolve_names()


def _file_of(found: StoredObject) -> _StoredFile | None:
    """Return the file of an object, None for one of a length that no object has."""
    size = file_bytes(found.bytes)
    return _StoredFile(found.file_id, size, found.put_ns) if size else None


def _metadata(file: _StoredFile) -> FileMetadata:
    name = encode(f"{BY_ID}/{file.file_id}")
    return FileMetadata(
        id=file.file_id, filename=name, size_bytes=file.size, mime_type=UNKNOWN_TYPE, created_ns=file.put_ns
    )


def _leave_names_to_the_newest(files: list[_StoredFile], log: SharedLog) -> None:
    """Let each path that several files claim go to the newest; the older ones, which it has replaced, keep their id.

    The records of all machines have been read.
    """
    claimed: set[str] = set()
    for file in sorted(files, key=lambda file: (file.put_ns, file.file_id), reverse=True):
        row = log.find(file_key(file.file_id))
        record = record_of(row) if row is not None else None
        paths = set(record.paths) if isinstance(record, FileRecord) else set()
        if paths & claimed:
            log.applied([file_key(file.file_id)])
        claimed |= paths
