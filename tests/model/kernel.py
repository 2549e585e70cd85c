"""A small kernel on the verbs of a file system: it asks as the real one does, by paths and descriptors.

It walks paths by lookups, counts them and gives them back, sends a FLUSH for each closed descriptor and a RELEASE for the
last, and refuses itself what never reaches a file system. Each call raises OSError.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from remotefs.errors import RemotefsError
from remotefs.fuse.translate import errno_of
from remotefs.store.records import ROOT_INO, Inode
from remotefs.vfs.attributes import AttributeChange
from remotefs.vfs.filesystem import FileSystem
from tests.model.model import MOUNTER, RENAME_EXCHANGE, RENAME_NOREPLACE, XATTR_PREFIX, Facts, after_chown

_READ_BYTES = 128 * 1024
# A listing is continued after so many entries, as if the kernel's page were full.
_LISTED_AT_ONCE = 3
_UMASK = 0o022


@dataclass(frozen=True)
class Caller:
    """The one who mounted."""

    uid: int = MOUNTER[0]
    gid: int = MOUNTER[1]


@dataclass(eq=False)
class Descriptor:
    """What dup shares."""

    fh: int
    ino: int
    flags: int


class Kernel:
    """Path-wise calls on a FileSystem; each raises OSError."""

    def __init__(self, fs: FileSystem) -> None:
        self._fs = fs
        self._known: Counter[int] = Counter()
        self._slots: dict[int, Descriptor] = {}

    # -- what it holds

    def forget(self, *, all_but_open: bool = True) -> None:
        """Give back the numbers of inodes that nothing needs; else only those of inodes without a name."""
        used = {descriptor.ino for descriptor in self._slots.values()}
        for ino in set(self._known) - used:
            if all_but_open or self._fs.attributes.getattr(ino).nlink == 0:
                self._fs.namespace.forget(ino, self._known.pop(ino))

    async def close_all(self) -> None:
        for slot in list(self._slots):
            await self.close(slot)
        self.forget()

    def _know(self, inode: Inode) -> Inode:
        self._fs.handles.looked_up(inode.ino)
        self._known[inode.ino] += 1
        return inode

    # -- paths

    def _place(self, path: str) -> tuple[Inode, bytes]:
        folder = self._fs.attributes.getattr(ROOT_INO)
        *above, name = path.encode().split(b"/")
        for part in above:
            folder = self._know(self._fs.namespace.lookup(folder.ino, part))
            if not folder.is_dir:
                raise failure(errno.ENOENT if folder.target else errno.ENOTDIR)
        return folder, name

    def _look(self, folder: Inode, name: bytes) -> Inode | None:
        try:
            return self._know(self._fs.namespace.lookup(folder.ino, name))
        except RemotefsError as error:
            if errno_of(error)[0] == errno.ENOENT:
                return None
            raise

    def _find(self, path: str, *, follow: bool = True) -> Inode:
        found = self._look(*self._place(path))
        if found is None or (follow and found.target is not None):
            raise failure(errno.ENOENT)
        return found

    def _free_place(self, path: str) -> tuple[int, bytes]:
        folder, name = self._place(path)
        if self._look(folder, name) is not None:
            raise failure(errno.EEXIST)
        return folder.ino, name

    # -- looking

    async def tree(self) -> dict[str, Facts]:
        return {path: await self._facts(inode) for path, inode in self._walk(ROOT_INO, "")}

    def _walk(self, ino: int, prefix: str) -> Iterator[tuple[str, Inode]]:
        for name, inode in self._list(ino):
            yield prefix + name, inode
            yield from self._walk(inode.ino, f"{prefix}{name}/") if inode.is_dir else ()

    def _list(self, ino: int) -> list[tuple[str, Inode]]:
        fh, cookie, found = self._fs.namespace.opendir(ino), 0, []
        while page := [entry for entry, _ in zip(self._fs.namespace.readdir(fh, cookie), range(_LISTED_AT_ONCE))]:  # noqa: B905 - cut on purpose
            cookie = page[-1].cookie
            found += [(e.name, self._fs.attributes.getattr(e.ino)) for e in page if e.name not in {".", ".."}]
        for _, inode in found:
            self._know(inode)
        self._fs.namespace.releasedir(fh)
        return found

    async def inode(self, path: str) -> Inode:
        """Return the inode at a path, of a link itself."""
        return self._find(path, follow=False)

    async def content(self, ino: int) -> bytes | None:
        """Return the bytes of a file; None where they cannot be had."""
        return await self._content(self._fs.attributes.getattr(ino))

    async def names(self, path: str) -> list[str]:
        """Return the names in a folder."""
        inode = self._find(path)
        if not inode.is_dir:
            raise failure(errno.ENOTDIR)
        return sorted(name for name, _ in self._list(inode.ino))

    async def below(self, path: str) -> dict[str, tuple[Facts, int]]:
        """Return facts and number of all that is below a folder, by the path from there."""
        return {name: (await self._facts(inode), inode.ino) for name, inode in self._walk(self._find(path).ino, "")}

    async def _facts(self, inode: Inode) -> Facts:
        given = self._fs.xattrs.listxattr(inode.ino)
        xattrs = {name.decode(): self._fs.xattrs.getxattr(inode.ino, name) for name in given}
        return Facts(
            stat.filemode(inode.mode),
            inode.nlink,
            (inode.uid, inode.gid),
            inode.size if inode.is_file else None,
            await self._content(inode) if inode.is_file else None,
            self._fs.namespace.readlink(inode.ino).decode() if inode.target is not None else None,
            {name.removeprefix(XATTR_PREFIX): value for name, value in xattrs.items()},
            inode.mtime_ns,
        )

    async def _content(self, inode: Inode) -> bytes | None:
        try:
            handle = await self._fs.files.open(inode.ino, os.O_RDONLY, Caller())
        except RemotefsError as error:
            if errno_of(error)[0] == errno.EACCES:
                return None
            raise
        pieces = [await self._fs.files.read(handle.fh, at, _READ_BYTES) for at in range(0, inode.size, _READ_BYTES)]
        await self._fs.files.flush(handle.fh)
        await self._fs.files.release(handle.fh)
        return b"".join(pieces)

    # -- names

    async def mkdir(self, path: str, mode: int) -> None:
        parent, name = self._free_place(path)
        self._know(self._fs.namespace.mkdir(parent, name, stat.S_IFDIR | mode & ~_UMASK, Caller()))

    async def symlink(self, path: str, target: str) -> None:
        parent, name = self._free_place(path)
        self._know(self._fs.namespace.symlink(parent, name, target.encode(), Caller()))

    async def link(self, old: str, new: str) -> None:
        inode = self._find(old, follow=False)
        parent, name = self._free_place(new)
        self._know(self._fs.namespace.link(inode.ino, parent, name))

    async def unlink(self, path: str) -> None:
        folder, name = self._place(path)
        self._fs.namespace.unlink(folder.ino, name)

    async def rmdir(self, path: str) -> None:
        folder, name = self._place(path)
        self._fs.namespace.rmdir(folder.ino, name)

    async def rename(self, old: str, new: str, flags: int) -> None:
        source, name = self._place(old)
        target, new_name = self._place(new)
        moving, present = self._look(source, name), self._look(target, new_name)
        if moving is None or (flags == RENAME_EXCHANGE and present is None):
            raise failure(errno.ENOENT)
        if flags == RENAME_NOREPLACE and present is not None:
            raise failure(errno.EEXIST)
        if not flags and new != old and f"{old}/".startswith(f"{new}/"):
            raise failure(errno.ENOTEMPTY)
        if present is not None and present.ino == moving.ino:
            return
        self._fs.namespace.rename(source.ino, name, target.ino, new_name, flags)

    # -- attributes

    async def chmod(self, path: str, mode: int) -> None:
        await self._change(self._find(path), AttributeChange(mode=mode))

    async def chown(self, path: str, uid: int, gid: int) -> None:
        inode = self._find(path)
        await self._change(inode, AttributeChange(uid=uid, gid=gid, mode=after_chown(inode.mode)))

    async def utimens(self, path: str, mtime_ns: int) -> None:
        await self._change(self._find(path), AttributeChange(mtime_ns=mtime_ns, atime_ns=mtime_ns))

    async def truncate(self, path: str, size: int) -> None:
        inode = self._find(path)
        if inode.is_dir:
            raise failure(errno.EISDIR)
        await self._change(inode, AttributeChange(size=size))

    async def _change(self, inode: Inode, change: AttributeChange) -> None:
        await self._fs.attributes.setattr(inode.ino, change, None)

    async def setxattr(self, path: str, name: str, value: bytes) -> None:
        self._fs.xattrs.setxattr(self._find(path).ino, (XATTR_PREFIX + name).encode(), value)

    async def removexattr(self, path: str, name: str) -> None:
        self._fs.xattrs.removexattr(self._find(path).ino, (XATTR_PREFIX + name).encode())

    async def settype(self, path: str, kind: str) -> None:
        """Choose the type under which a file, or those that are made in a folder, go up."""
        self._fs.xattrs.setxattr(self._find(path).ino, b"user.remotefs.mime_type", kind.encode())

    # -- open files

    async def open(self, slot: int, path: str, flags: int, mode: int) -> None:
        folder, name = self._place(path)
        found = self._look(folder, name)
        if found is None and flags & os.O_CREAT:
            opened, handle = await self._fs.files.create(
                folder.ino, name, stat.S_IFREG | mode & ~_UMASK, flags & ~os.O_TRUNC, Caller()
            )
            self._know(opened)
        elif found is None or (found.target is not None and not flags & os.O_EXCL):
            raise failure(errno.ENOENT)
        elif flags & os.O_EXCL:
            raise failure(errno.EEXIST)
        else:
            opened, handle = found, await self._fs.files.open(found.ino, flags & ~os.O_CREAT, Caller())
        await self._put(slot, Descriptor(handle.fh, opened.ino, flags))

    async def dup(self, slot: int, other: int) -> None:
        await self._put(other, self._descriptor(slot))

    async def close(self, slot: int) -> None:
        descriptor = self._descriptor(slot)
        del self._slots[slot]
        await self._let_go(descriptor)

    async def read(self, slot: int, offset: int, size: int) -> bytes:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_WRONLY:
            raise failure(errno.EBADF)
        return await self._fs.files.read(descriptor.fh, offset, size)

    async def write(self, slot: int, offset: int, data: bytes) -> int:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_RDONLY:
            raise failure(errno.EBADF)
        if not data:
            return 0
        if descriptor.flags & os.O_APPEND:
            offset = self._fs.attributes.getattr(descriptor.ino).size
        return await self._fs.files.write(descriptor.fh, offset, data)

    async def ftruncate(self, slot: int, size: int) -> None:
        descriptor = self._descriptor(slot)
        if descriptor.flags & os.O_ACCMODE == os.O_RDONLY:
            raise failure(errno.EINVAL)
        await self._fs.attributes.setattr(descriptor.ino, AttributeChange(size=size), descriptor.fh)

    async def fsync(self, slot: int) -> None:
        await self._fs.files.fsync(self._descriptor(slot).fh)

    def _descriptor(self, slot: int) -> Descriptor:
        if slot not in self._slots:
            raise failure(errno.EBADF)
        return self._slots[slot]

    async def _put(self, slot: int, descriptor: Descriptor) -> None:
        old = self._slots.get(slot)
        self._slots[slot] = descriptor
        if old is not None:
            await self._let_go(old)

    async def _let_go(self, descriptor: Descriptor) -> None:
        try:
            await self._fs.files.flush(descriptor.fh)
        finally:
            if descriptor not in self._slots.values():
                await self._fs.files.release(descriptor.fh)


def failure(number: int) -> OSError:
    """Return the error that a system call ends with."""
    return OSError(number, os.strerror(number))
