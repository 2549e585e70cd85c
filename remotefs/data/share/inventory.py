"""What a store holds, as far as its keys tell: the accounts, and the objects with content of one of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from typing import NamedTuple

from remotefs.api.entries import ID
from remotefs.data.content.index import folder_of
from remotefs.data.share.connection import StoreConnection
from remotefs.objects.store import ObjectEntry, ObjectStore

_ACCOUNT = re.compile(r"[0-9a-f]{16}")


class StoredObject(NamedTuple):
    """The object of a file: the id, its bytes with the header, and when it was put (ns since the epoch)."""

    file_id: str
    bytes: int
    put_ns: int


class Page(NamedTuple):
    """A page of a listing; `odd` counts the keys that no file has."""

    objects: list[StoredObject]
    odd: int


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


async def objects_in(connection: StoreConnection, account: str) -> AsyncIterator[Page]:
    """Yield the objects of files that an account has in the store, in pages. Raises ObjectStoreError."""
    after = ""
    while entries := await connection.watch(partial(_page, f"{account}/c", after)):
        objects = [found for entry in entries if (found := _object_of(entry, f"{account}/c/")) is not None]
        yield Page(objects, len(entries) - len(objects))
        after = entries[-1].key


async def _page(prefix: str, after: str, objects: ObjectStore) -> list[ObjectEntry]:
    async for page in objects.list(prefix, after=after):
        return page
    return []


def _object_of(entry: ObjectEntry, prefix: str) -> StoredObject | None:
    """Return the object of a file, None for a key that none has."""
    folder, _, file_id = entry.key.removeprefix(prefix).partition("/")
    if re.match(ID, file_id) is None or folder != folder_of(file_id):
        return None
    return StoredObject(file_id, entry.size, entry.modified_ns)
