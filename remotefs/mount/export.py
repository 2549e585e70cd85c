"""`remotefs export`: copies files on this disk to a place outside of the mount, byte for byte.

It needs the state folder alone, neither the network nor a mount.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import trio

from remotefs.control.messages.base import Notice, Report
from remotefs.data.content.store import ContentStore
from remotefs.data.files.reader import FileReader
from remotefs.errors import NotReadable, RemotefsError
from remotefs.mount.copying import Looks, copy_file, placing
from remotefs.store.records import Entry, Inode
from remotefs.store.tree import Tree


class Export:
    """One run. `failed` has the reason for each path of the mount that was not copied.

    `copied` has the paths that were, and `sources` the names that their bytes have in the state folder.
    """

    def __init__(self, tree: Tree, content: ContentStore, reader: FileReader, *, force: bool, report: Report) -> None:
        self._tree = tree
        self._content = content
        self._reader = reader
        self._force = force
        self._report = report
        self.files = 0
        self.bytes = 0
        self.failed: dict[str, str] = {}
        self.copied: set[str] = set()
        self.sources: set[str] = set()

    async def copy(self, inode: Inode, path: str, target: Path) -> None:
        """Copy a file, a link or a folder with all in it to `target`, whose folder is there."""
        # A stack of its own, for a tree can be deeper than Python's.
        places = [(inode, path, target)]
        while places:
            inode, path, target = places.pop()
            try:
                if inode.is_dir:
                    places += self._enter(inode, path, target)
                else:
                    await self._copy_one(inode, path, target)
            except (RemotefsError, OSError) as error:
                self.failed[path] = (error.strerror if isinstance(error, OSError) else None) or str(error)

    def _enter(self, folder: Inode, path: str, target: Path) -> list[tuple[Inode, str, Path]]:
        if not target.is_dir():
            target.mkdir()
            target.chmod(stat.S_IMODE(folder.mode) | stat.S_IRWXU)
        return [
            (self._tree.get(entry.ino), f"{path}/{entry.name}" if path else entry.name, target / entry.name)
            for entry in self._entries(folder.ino)
        ]

    def _entries(self, folder: int) -> Iterator[Entry]:
        after = 0
        while page := self._tree.entries(folder, after=after):
            yield from page
            after = page[-1].cookie

    async def _copy_one(self, inode: Inode, path: str, target: Path) -> None:
        if inode.target is not None:
            with placing(target, force=self._force) as new:
                new.symlink_to(os.fsdecode(inode.target))
        elif inode.is_file:
            self._report(Notice(text=path))
            with await self._source(inode, path) as source:
                await trio.to_thread.run_sync(
                    partial(copy_file, source, target, Looks.of_inode(inode), force=self._force)
                )
            self.files += 1
            self.bytes += inode.size
            self.copied.add(path)
            self.sources.add(inode.file_id or "" if inode.staged_gen is None else f"{inode.ino}-{inode.staged_gen}")

    async def _source(self, inode: Inode, path: str) -> BinaryIO:
        """Return the bytes of a file, checked. Raises NotReadable, CorruptionError."""
        if inode.size == 0:
            return BytesIO()
        if inode.staged_gen is None and inode.file_id is not None:
            await self._content.verify(inode.file_id)
        source = await self._reader.open_source(inode.ino)
        if source is None:
            raise NotReadable(f"{path}: its bytes are not on this disk; `remotefs warm` fetches what can be fetched")
        return source
