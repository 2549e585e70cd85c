"""The bytes that an upload sends: the frozen version of the file where there is one, else its staged file (W4)."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import trio

from remotefs.api.mime import HEAD_BYTES
from remotefs.data.content.chunks import Sums
from remotefs.data.content.file import digest_of, hash_file
from remotefs.data.files.freezer import Freezer, Frozen
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.staged_sums import StagedSums, damage_of
from remotefs.data.files.writer import FileWriter
from remotefs.errors import CorruptionError, LocalError
from remotefs.store.records import ContentState, Inode
from remotefs.store.store import Store


class OutgoingBytes:
    """Gives an upload bytes that do not change before a write cuts the upload."""

    def __init__(
        self,
        store: Store,
        locks: InodeLocks,
        freezer: Freezer,
        writer: FileWriter,
        locator: Locator,
        sums: StagedSums,
    ) -> None:
        self._tree = store.tree
        self._sums = sums
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

    async def digest(self, ino: int, generation: int, path: Path | None) -> str:
        """Return the digest of the bytes to send, which `source` returned, after a look whether they are damaged (R3).

        The first upload of a version makes its sums; a later one compares, as does one of confirmed bytes. If the
        version is written over meanwhile, the digest means nothing.

        Raises CorruptionError, OSError.
        """
        if path is None:
            return digest_of(None)
        inode, frozen = self._tree.get(ino), self._freezer.of(ino)
        layout = self._sums.layout(frozen.size if frozen else inode.size)
        try:
            found: Sums | None = await trio.to_thread.run_sync(hash_file, path, layout)
        except CorruptionError:  # of another size
            found = None
        # A thread is not cut short: an upload that was cut meanwhile ends here.
        await trio.lowlevel.checkpoint_if_cancelled()
        if found is not None and self._is_expected(inode, generation, found):
            self._sums.remember(ino, generation, found)
            return found.digest or ""
        current = self._tree.find(ino)
        if frozen is None and (current is None or current.content_gen != generation):
            return ""
        if frozen is None:
            self._sums.note_damage(ino, generation)
        raise damage_of(path)

    async def head(self, path: Path | None) -> bytes:
        """Return the first HEAD_BYTES of what `source` returned. Raises OSError."""
        if path is None:
            return b""
        head = await trio.to_thread.run_sync(_read_head, path)
        await trio.lowlevel.checkpoint_if_cancelled()
        return head

    async def keep_sums(self, ino: int) -> None:
        """Keep the sums that a try made of the newest bytes, for the next; without room it does without."""
        inode = self._tree.find(ino)
        if inode is None or inode.staged_gen is None or inode.state != ContentState.CLOSED:
            return
        sums = self._sums.find(ino, inode.content_gen)
        if sums is not None and not self._sums.is_kept(ino, inode.content_gen):
            with suppress(LocalError, OSError):
                await self._sums.keep(ino, inode.content_gen, sums)

    def _is_expected(self, inode: Inode, generation: int, found: Sums) -> bool:
        """Return whether nothing says that the bytes of a version should be others."""
        known = self._sums.find(inode.ino, generation)
        if known is not None and known.digest != found.digest:
            return False
        is_confirmed = inode.state == ContentState.CLEAN and inode.content_gen == generation
        bound = self._locator.bound(inode) if is_confirmed else None
        return bound is None or bound.digest is None or bound.digest == found.digest

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


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)
