"""The objects of the logs of machines, and where they lie in the store.

<account>/l/<writer>/<sequence>         a segment
<account>/l/<writer>/<sequence>.s…      a snapshot, see `segments`
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import trio

from remotefs.data.share.connection import StoreConnection
from remotefs.data.share.contents import account_of
from remotefs.data.share.segments import MOST_UNPACKED_BYTES, Name, Segment, decode, parse_name
from remotefs.errors import ObjectMissing
from remotefs.objects.store import ObjectEntry, ObjectStore
from remotefs.store.meta import Meta

# The objects that one look at a log takes in, in pages of 1,000; a longer log is looked at in several.
_MOST_PAGES = 100
# A larger object is decoded in a thread: 100,000 records take seconds (H8).
_AT_ONCE_BYTES = 16 << 10


class Listed(NamedTuple):
    """An object of a log in a listing, and its bytes."""

    name: Name
    size: int


class LogObjects:
    """Puts, reads, lists and deletes objects of logs. Each method raises ObjectStoreError."""

    def __init__(self, meta: Meta, connection: StoreConnection) -> None:
        self._meta = meta
        self._connection = connection

    async def create(self, writer: str, name: Name, data: bytes) -> bool:
        """Put an object if there is none of that name; return whether it is there now, with these bytes.

        An earlier request may have put it, whose reply was lost.
        """
        key = self._key(writer, name)
        is_new = await self._connection.change(lambda objects: objects.create(key, data))
        return is_new or await self.get(writer, name) == data

    async def get(self, writer: str, name: Name) -> bytes:
        """Return the bytes of an object. Raises ObjectMissing."""
        key = self._key(writer, name)
        return await self._connection.watch(lambda objects: objects.get(key, length=MOST_UNPACKED_BYTES))

    async def read(self, writer: str, name: Name) -> tuple[Segment, list[str]]:
        """Return a segment and the reasons why some of its records cannot be used, see `segments.decode`.

        Raises ObjectMissing, and ValueError for one that cannot be used at all.
        """
        data = await self.get(writer, name)
        if len(data) <= _AT_ONCE_BYTES:
            return decode(data, writer=writer, name=name)
        return await trio.to_thread.run_sync(partial(decode, data, writer=writer, name=name))

    async def read_snapshot(
        self, writer: str, sequence: int, take: Callable[[Segment, list[str]], Awaitable[None]]
    ) -> None:
        """Read all parts of a snapshot and pass each on, with those reasons.

        Raises ValueError if a part is missing or cannot be used; some may have been passed on before.
        """
        part, parts = 0, 1
        while part < parts:
            try:
                segment, reasons = await self.read(writer, Name(sequence, part))
            except ObjectMissing:
                raise ValueError(f"the part {part} of the snapshot is missing") from None
            await take(segment, reasons)
            part, parts = part + 1, segment.parts if part == 0 else parts

    async def is_gone(self, writer: str, name: Name) -> bool:
        """Return whether an object is absent from a store that has just shown its marker."""
        key = self._key(writer, name)
        if await self._connection.watch(lambda objects: objects.size_of(key)) is not None:
            return False
        await self._connection.check_marker()
        return True

    async def delete(self, writer: str, names: Iterable[Name]) -> None:
        """Delete objects, of which some may be absent, from a store that has just shown its marker."""
        keys = [self._key(writer, name) for name in names]
        await self._connection.change(lambda objects: objects.delete(keys))

    async def listed(self, writer: str, *, start: int = 0, most_pages: int = _MOST_PAGES) -> list[Listed]:
        """Return the objects of a log from the number `start` on, in order; of a long log not all of them."""
        return await self._connection.watch(partial(self._listed, self._folder(writer), start, most_pages))

    async def _listed(self, folder: str, start: int, most_pages: int, objects: ObjectStore) -> list[Listed]:
        # Greater than all names of the number before.
        after = f"{folder}/{Name(start - 1)}.~" if start else ""
        found: list[Listed] = []
        async for page in objects.list(folder, after=after):
            found += _of_page(page, folder)
            most_pages -= 1
            if not most_pages:
                break
        return found

    async def writers(self) -> list[str]:
        """Return the machines that have a log."""
        found: list[str] = []
        while (writer := await self._connection.watch(partial(self._writer_after, found))) is not None:
            found.append(writer)
        return found

    async def _writer_after(self, found: list[str], objects: ObjectStore) -> str | None:
        """Return the first machine after those that were found: one page is read, whatever they have written."""
        folder = self._logs()
        # Greater than any name in the folder of a machine.
        after = f"{folder}/{found[-1]}/~" if found else ""
        async for page in objects.list(folder, after=after):
            return page[0].key.removeprefix(f"{folder}/").partition("/")[0] if page else None
        return None

    def _key(self, writer: str, name: Name) -> str:
        return f"{self._folder(writer)}/{name}"

    def _folder(self, writer: str) -> str:
        return f"{self._logs()}/{writer}"

    def _logs(self) -> str:
        return f"{account_of(self._meta.facts)}/l"


def _of_page(page: list[ObjectEntry], folder: str) -> list[Listed]:
    """Return the objects of a page whose names are those of a log; others are passed over."""
    found: list[Listed] = []
    for entry in page:
        with suppress(ValueError):
            found.append(Listed(parse_name(entry.key.removeprefix(f"{folder}/")), entry.size))
    return found
