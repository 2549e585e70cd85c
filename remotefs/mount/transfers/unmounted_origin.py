"""The tree as `get` sees it without a mount: the verbs of the file system, in this process."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Sequence

import trio

from remotefs.control.messages.get import GeneratedParams
from remotefs.errors import NotFound
from remotefs.mount.assembly import Components
from remotefs.mount.commands.get import generated_page
from remotefs.mount.commands.lookup import path_of_id
from remotefs.mount.copying import Looks
from remotefs.mount.transfers.owner import Owner
from remotefs.mount.transfers.records import ODD_KIND, Download, Kind
from remotefs.store.records import Entry, Inode

_PIECE_BYTES = 1 << 20


class UnmountedOrigin:
    """Reads from the tree of a state folder at work."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._tree = parts.tree
        self._owner = Owner()

    async def find(self, path: str) -> list[Download]:
        """See Origin."""
        return [download for _, download in self.walk(path)]

    async def paths_of(self, file_ids: Sequence[str]) -> list[str | None]:
        """See Origin."""
        return [path_of_id(self._parts.store, self._parts.intents.paths, file_id) for file_id in file_ids]

    async def generated(self, since_s: float | None) -> list[str]:
        """See Origin."""
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = generated_page(self._parts, GeneratedParams(since_s=since_s, after=after))
            found += page.paths
            after = page.after
            await trio.lowlevel.checkpoint()
        return found

    async def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Origin. Raises NotFound, TransportError, RefusedError, StaleError, CorruptionError."""
        inode = self._tree.resolve(path)
        if inode is None:
            raise NotFound("it was removed meanwhile")
        files = self._parts.fs.files
        handle = await files.open(inode.ino, os.O_RDONLY, self._owner)
        try:
            offset = 0
            while data := await files.read(handle.fh, offset, _PIECE_BYTES):
                yield data
                offset += len(data)
        finally:
            await files.release(handle.fh)

    def walk(self, path: str) -> Iterator[tuple[Inode, Download]]:
        """Yield what `find` returns, each entry with its inode."""
        inode = self._tree.resolve(path)
        places: list[tuple[Inode, str, tuple[str, ...]]] = [] if inode is None else [(inode, path, ())]
        while places:
            there, path, place = places.pop()
            yield there, _download(there, path, place)
            if there.is_dir:
                inside = reversed(list(self._entries(there.ino)))
                places += [
                    (self._tree.get(e.ino), f"{path}/{e.name}" if path else e.name, (*place, e.name)) for e in inside
                ]

    def _entries(self, folder: int) -> Iterator[Entry]:
        after = 0
        while page := self._tree.entries(folder, after=after):
            yield from page
            after = page[-1].cookie


def _download(inode: Inode, path: str, place: tuple[str, ...]) -> Download:
    kind = Kind.of(inode.mode)
    if kind is None:
        return Download(None, path, place, reason=ODD_KIND)
    return Download(kind, path, place, Looks.of_inode(inode), inode.target or b"")
