"""The bytes that an upload sends: the frozen version of the file where there is one, else its staged file (W4)."""

from __future__ import annotations

from pathlib import Path

from remotefs.data.files.freezer import Freezer, Frozen
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.writer import FileWriter
from remotefs.store.store import Store


class OutgoingBytes:
    """Gives an upload bytes that do not change before a write cuts the upload."""

    def __init__(self, store: Store, locks: InodeLocks, freezer: Freezer, writer: FileWriter, locator: Locator) -> None:
        self._tree = store.tree
        self._locks = locks
        self._freezer = freezer
        self._writer = writer
        self._locator = locator

    async def freeze(self, ino: int) -> None:
        """Freeze the version of the last close, if the file keeps changing. Call it before the version is sent."""
        inode = self._tree.find(ino)
        if inode is None or not self._freezer.wants(inode):
            return
        async with self._locks.hold(ino):
            inode = self._tree.find(ino)
            if inode is not None and self._freezer.wants(inode):
                await self._freezer.freeze(inode)

    def frozen(self, ino: int) -> Frozen | None:
        """Return the frozen version, which is sent before any other; None when there is none."""
        return self._freezer.of(ino)

    def thaw(self, ino: int) -> None:
        """Let the frozen version go: it was sent, or will not be. Does nothing when there is none."""
        self._freezer.thaw(ino)

    async def source(self, ino: int) -> Path | None:
        """Return the local file to send, None when the inode is empty. Raises as FileWriter.stage and sync_bytes do."""
        frozen = self._freezer.of(ino)
        if frozen is None:
            await self._writer.stage(ino)
        path = frozen.path if frozen else self._locator.source_of(self._tree.get(ino))
        if frozen is None or frozen.generation == self._tree.get(ino).content_gen:
            # On this disk for good before anybody calls it safe: an upload cannot be read back.
            await self._writer.sync_bytes(ino)
        return path
