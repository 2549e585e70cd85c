"""`remotefs export`: copying what is on this disk to a place outside of the mount, byte for byte.

It works by the state folder alone: without the network, and without a mount.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import trio

from remotefs.errors import AlreadyExists, CorruptionError, NotReadable, RemotefsError
from remotefs.mount.parts import Parts
from remotefs.store.records import Entry, Inode

_PIECE_BYTES = 1 << 20


class Export:
    """One run. `failed`: what was not copied, and why, by its path in the mount."""

    def __init__(self, parts: Parts, *, force: bool, say: Callable[[str], None] = lambda _: None) -> None:
        self._parts = parts
        self._force = force
        self._say = say
        self.files = 0
        self.bytes = 0
        self.failed: dict[str, str] = {}

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
        tree = self._parts.tree
        return [
            (tree.get(entry.ino), f"{path}/{entry.name}" if path else entry.name, target / entry.name)
            for entry in self._entries(folder.ino)
        ]

    def _entries(self, folder: int) -> Iterator[Entry]:
        after = 0
        while page := self._parts.tree.entries(folder, after=after):
            yield from page
            after = page[-1].cookie

    async def _copy_one(self, inode: Inode, path: str, target: Path) -> None:
        if inode.target is not None:
            with _placing(target, force=self._force) as new:
                new.symlink_to(os.fsdecode(inode.target))
        elif inode.is_file:
            self._say(path)
            with await self._source(inode, path) as source:
                await trio.to_thread.run_sync(partial(_copy_file, source, target, inode, force=self._force))
            self.files += 1
            self.bytes += inode.size

    async def _source(self, inode: Inode, path: str) -> BinaryIO:
        """Its bytes, checked. Raises NotReadable, CorruptionError."""
        if inode.size == 0:
            return BytesIO()
        if inode.staged_gen is None and inode.file_id is not None:
            await self._parts.content.verify(inode.file_id)
        source = await self._parts.filedata.open_source(inode.ino)
        if source is None:
            raise NotReadable(f"{path}: its bytes are not on this disk; `remotefs warm` fetches what can be fetched")
        return source


def _copy_file(source: BinaryIO, target: Path, inode: Inode, *, force: bool) -> None:
    """For a thread: whole under its name or not at all. Raises OSError, AlreadyExists, CorruptionError."""
    with _placing(target, force=force) as new:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "wb") as copy:  # noqa: PTH123 - a descriptor, for its mode and its flags
            _copy_bytes(source, copy.fileno(), inode.size)
            os.fchmod(fd, stat.S_IMODE(inode.mode) & 0o777)
            os.utime(fd, ns=(inode.atime_ns, inode.mtime_ns))


def _copy_bytes(source: BinaryIO, target: int, size: int) -> None:
    left = size
    while left:
        piece = source.read(min(left, _PIECE_BYTES))
        if not piece:
            raise CorruptionError(f"{source.name}: it ends {left} bytes early")
        left -= len(piece)
        while piece:
            piece = piece[os.write(target, piece) :]


@contextmanager
def _placing(target: Path, *, force: bool) -> Iterator[Path]:
    """A name beside `target` that becomes `target` at the end, or goes. Raises AlreadyExists."""
    if not force and os.path.lexists(target):
        raise AlreadyExists(f"{target} exists; --force overwrites it")
    new = target.with_name(f".{target.name[:40]}.{os.getpid()}.part")
    new.unlink(missing_ok=True)
    try:
        yield new
        new.replace(target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
