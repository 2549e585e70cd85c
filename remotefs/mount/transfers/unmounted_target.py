"""The tree as `put` sees it without a mount: the verbs of the file system, in this process."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

import trio

from remotefs.control.messages.base import Report
from remotefs.control.messages.put import SentFile, ThereParams, ThereResult
from remotefs.data.content.file import digest_of
from remotefs.errors import (
    AlreadyExists,
    FileTooBig,
    IsADirectory,
    NotADirectory,
    NotFound,
    RefusedError,
    TransportError,
)
from remotefs.mount.assembly import Components
from remotefs.mount.copying import Looks
from remotefs.mount.transfers.known import there
from remotefs.mount.transfers.mounted_target import TEMPORARY
from remotefs.mount.transfers.owner import Owner
from remotefs.mount.transfers.records import Attributes, Kind, Upload
from remotefs.mount.transfers.sending import Sending
from remotefs.mount.transfers.uploads import Written
from remotefs.store.records import Inode
from remotefs.vfs.attributes import AttributeChange

_PERMISSIONS = 0o7777
_PIECE_BYTES = 1 << 20


class UnmountedTarget:
    """Writes into the tree of a state folder at work; refuses files of more than `max_file_bytes`."""

    def __init__(self, parts: Components, max_file_bytes: int) -> None:
        self._parts = parts
        self._fs = parts.fs
        self._tree = parts.tree
        self._max_file_bytes = max_file_bytes
        self._owner = Owner()
        self._numbers = itertools.count(1)

    async def kind(self, path: str) -> Kind | None:
        """See Target."""
        inode = self._tree.resolve(path)
        if inode is None:
            return None
        kind = Kind.of(inode.mode)
        if kind is None:
            raise AlreadyExists("something that is neither a file, a folder nor a link has that path")
        return kind

    async def make_folder(self, path: str, mode: int) -> None:
        """See Target."""
        parent, name = self._place(path)
        self._fs.namespace.mkdir(parent, name, mode, self._owner)

    async def make_link(self, path: str, target: bytes) -> None:
        """See Target. Raises AlreadyExists for anything but a link."""
        parent, name = self._place(path)
        there = self._tree.lookup(parent, name.decode())
        if there is None:
            self._fs.namespace.symlink(parent, name, target, self._owner)
        elif there.target is None:
            raise AlreadyExists("it is there and is not a link")
        elif there.target != target:
            temporary = self._temporary()
            self._fs.namespace.symlink(parent, temporary, target, self._owner)
            self._fs.namespace.rename(parent, temporary, parent, name, 0)

    async def write(self, upload: Upload, attributes: Attributes) -> Written:
        """See Target. Raises FileTooBig, IsADirectory, OutOfSpace, CorruptionError, OSError."""
        if upload.looks.size > self._max_file_bytes:
            raise FileTooBig(f"the service takes files of at most {self._max_file_bytes >> 20} MiB")
        parent, name = self._place(upload.path)
        inode = self._tree.lookup(parent, name.decode())
        if inode is None:
            return Written(await self._write_new(parent, name, upload, attributes), is_new=True)
        if inode.is_dir:
            raise IsADirectory("a folder has that path")
        known = await self._known(inode, upload)
        if known.same:
            await self._dress(inode.ino, upload.looks, attributes)
            return Written(inode.ino, is_new=known.pending)
        if known.generated:
            return Written(await self._write_over(inode, upload, attributes), is_new=True)
        kept = {**dict(known.attributes), **attributes}
        return Written(await self._write_new(parent, name, upload, kept), is_new=True)

    async def set_times(self, path: str, looks: Looks) -> None:
        """See Target."""
        inode = self._tree.resolve(path)
        if inode is not None:
            times = AttributeChange(atime_ns=looks.atime_ns, mtime_ns=looks.mtime_ns)
            await self._fs.attributes.setattr(inode.ino, times, None)

    async def sent(self, inos: Sequence[int], stall_s: float, report: Report) -> list[SentFile]:
        """See Target."""
        return await Sending(self._parts).wait(inos, stall_s, report)

    async def _write_new(self, parent: int, name: bytes, upload: Upload, attributes: Attributes) -> int:
        """Make a file under a name that is never uploaded, then give it its own; return its inode number."""
        temporary = self._temporary()

        def make() -> Inode:
            return self._fs.namespace.mknod(
                parent, temporary, stat.S_IFREG | upload.looks.mode & _PERMISSIONS, 0, self._owner
            )

        made = await self._parts.file_writer.create(upload.source, upload.looks.size, make)
        try:
            await self._dress(made.ino, upload.looks, attributes)
            self._fs.namespace.rename(parent, temporary, parent, name, 0)
        except BaseException:
            self._fs.namespace.unlink(parent, temporary)
            raise
        # In the journal for good: what is copied is sent, whatever becomes of this process.
        await self._parts.file_writer.sync(made.ino)
        return made.ino

    async def _write_over(self, there: Inode, upload: Upload, attributes: Attributes) -> int:
        """Write a file in the place of its bytes; return its inode number."""
        files = self._fs.files
        handle = await files.open(there.ino, os.O_WRONLY | os.O_TRUNC, self._owner)
        try:
            async with await trio.open_file(upload.source, "rb") as source:
                offset = 0
                while offset < upload.looks.size and (data := await source.read(_PIECE_BYTES)):
                    offset += await files.write(handle.fh, offset, data)
            await self._dress(there.ino, upload.looks, attributes)
            # What the service says to it is told when all has been waited for.
            with suppress(RefusedError, TransportError):
                await files.flush(handle.fh)
        finally:
            await files.release(handle.fh)
        return there.ino

    async def _dress(self, ino: int, looks: Looks, attributes: Attributes) -> None:
        for name, value in attributes.items():
            self._fs.xattrs.setxattr(ino, name, value)
        change = AttributeChange(looks.mode & _PERMISSIONS, atime_ns=looks.atime_ns, mtime_ns=looks.mtime_ns)
        await self._fs.attributes.setattr(ino, change, None)

    async def _known(self, inode: Inode, upload: Upload) -> ThereResult:
        size = upload.looks.size
        digest = await trio.to_thread.run_sync(digest_of, upload.source) if inode.size == size else ""
        return await there(self._parts, ThereParams(path=upload.path, size=size, digest=digest))

    def _temporary(self) -> bytes:
        return TEMPORARY.format(pid=os.getpid(), number=next(self._numbers)).encode()

    def _place(self, path: str) -> tuple[int, bytes]:
        """Return the folder of a path and the last name. Raises NotFound, NotADirectory."""
        folder, _, name = path.rpartition("/")
        inode = self._tree.resolve(folder)
        if inode is None:
            raise NotFound(f"{folder}: no such folder in the tree")
        if not inode.is_dir:
            raise NotADirectory(f"{folder} is not a folder")
        return inode.ino, name.encode()
