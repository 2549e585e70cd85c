"""What a store holds, as far as its keys tell: the accounts, and the objects with content of one of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

from remotefs.api.entries import ID
from remotefs.data.content.index import folder_of
from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.header import file_bytes
from remotefs.objects.store import ObjectEntry, ObjectStore

_ACCOUNT = re.compile(r"[0-9a-f]{16}")


class StoredFile(NamedTuple):
    """A file whose object is in the store: its id, its size in bytes, and when it was put (ns since the epoch)."""

    file_id: str
    size: int
    put_ns: int


async def accounts_in(connection: StoreConnection) -> list[str]:
    """Return the names of the accounts that have anything in the store. Raises ObjectStoreError."""
    found: list[str] = []
    after = ""
    while page := await connection.watch(partial(_page, "", after)):
        name, parted, _ = page[0].key.partition("/")
        if parted and _ACCOUNT.fullmatch(name):
            found.append(name)
        # Greater than all keys of that folder.
        after = f"{name}/~" if parted else page[0].key
    return found


async def files_in(connection: StoreConnection, account: str) -> AsyncIterator[list[StoredFile]]:
    """Yield in pages the files whose objects an account has in the store; other keys are passed over.

    Raises ObjectStoreError.
    """
    after = ""
    while page := await connection.watch(partial(_page, f"{account}/c", after)):
        yield [file for entry in page if (file := _file_of(entry, f"{account}/c/")) is not None]
        after = page[-1].key


async def _page(prefix: str, after: str, objects: ObjectStore) -> list[ObjectEntry]:
    async for page in objects.list(prefix, after=after):
        return page
    return []


def _file_of(entry: ObjectEntry, prefix: str) -> StoredFile | None:
    """Return the file of an object, None for a key or a length that no object has."""
    folder, _, file_id = entry.key.removeprefix(prefix).partition("/")
    size = file_bytes(entry.size)
    if re.match(ID, file_id) is None or folder != folder_of(file_id) or not size:
        return None
    return StoredFile(file_id, size, entry.modified_ns)
