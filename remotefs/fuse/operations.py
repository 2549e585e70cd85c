"""The handlers of the kernel's requests: each one hands its request to the file system and translates the result.

pyfuse3 answers only a FUSEError; any other exception ends its main loop and leaves the request without an answer. So
`answering` wraps every handler: it turns an exception into an errno by the one table and lets `trio.Cancelled` pass.
It also has `Requests` count each request, and write a line for it while the access log is on.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import perf_counter
from typing import Any, TypeVar

import pyfuse3
import trio
from pyfuse3 import FileHandleT, FileNameT, FlagT, InodeT, ModeT, RequestContext, XAttrNameT

from remotefs.errors import NotFound
from remotefs.fuse.announced import AnnouncedRequests
from remotefs.fuse.requests import Requests
from remotefs.fuse.translate import absent_entry, attribute_change, entry_attributes, errno_of, statvfs
from remotefs.names import COMPONENT_BYTES
from remotefs.store.records import ROOT_INO, Entry, Inode
from remotefs.store.tree import COOKIES_BELOW
from remotefs.vfs.announcements import HELPER_FH, Announcements
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import OpenFile

_log = logging.getLogger(__name__)

# The operations that change names: the positions of each folder and, after it, the name.
_CHANGED = {
    "mknod": (0,), "mkdir": (0,), "symlink": (0,), "create": (0,), "link": (1,), "unlink": (0,), "rmdir": (0,),
    "rename": (0, 2),
}  # fmt: skip
# The annotation of a number of an inode, as it is written: pyfuse3's types are plain numbers when the program runs.
_INODE = "InodeT"

Handler = TypeVar("Handler", bound=Callable[..., Awaitable[object]])


def answering(handler: Handler) -> Handler:
    """Wrap a handler so that every exception becomes an errno; log those that a person should know about.

    A handler of the mount gets the tree's number of the mount's root where the kernel says its own, ROOT_INO. A request
    of the helper that announces the changes of others never gets to its handler (`announced`).
    """
    name, inodes = handler.__name__, _places_of_inodes(handler)
    changed = _CHANGED.get(name, ())

    @functools.wraps(handler)
    async def wrapped(operations: Operations, *arguments: Any) -> object:
        arguments = operations.in_tree(arguments, inodes) if inodes else arguments
        if operations.announced is not None and operations.announced.is_theirs(arguments):
            return _answer_to_helper(operations.announced, name, arguments)
        requests = operations.requests
        line = requests.begin(name, arguments) if requests.write is not None else None
        answer: object = None
        number, began = 0, perf_counter()
        try:
            answer = await handler(operations, *arguments)
            for place in changed:
                operations.note_change(arguments[place], arguments[place + 1])
        except pyfuse3.FUSEError as error:
            number = error.errno
            raise
        except Exception as error:
            number, level = errno_of(error)
            unexpected = level >= logging.ERROR
            _log.log(level, "%s: %s", name, error, exc_info=error if unexpected else None)
            raise pyfuse3.FUSEError(number) from None
        finally:
            took_s = perf_counter() - began
            requests.timings[name].note(took_s, failed=number != 0)
            if line is not None:
                requests.end(line, answer, number, took_s)
        return answer

    return wrapped  # type: ignore[return-value]  # the same signature, which functools.wraps cannot express


def _answer_to_helper(announced: AnnouncedRequests, operation: str, arguments: tuple[Any, ...]) -> object:
    try:
        return announced.answer(operation, arguments)
    except Exception as error:
        number, level = errno_of(error)
        _log.log(level, "announcing by %s: %s", operation, error, exc_info=error if level >= logging.ERROR else None)
        raise pyfuse3.FUSEError(number) from None


def _places_of_inodes(handler: Callable[..., object]) -> frozenset[int]:
    """Return the positions of the arguments, after the object itself, that are numbers of inodes."""
    _, *parameters = inspect.signature(handler).parameters.values()
    return frozenset(place for place, parameter in enumerate(parameters) if parameter.annotation == _INODE)


class Operations(pyfuse3.Operations):
    """The handlers, one method for each kind of request.

    `timeout_s` is how long the kernel may use names and attributes without asking again. `note_use` is called when a
    request shows that somebody uses the mount. `requests` counts them. `announcements` has the changes of others that
    the kernel is to announce; without it nothing is announced.
    """

    supports_dot_lookup = True
    # With the writeback cache write(2) returns before its bytes get here, too late for its own error (EFBIG, ENOSPC).
    enable_writeback_cache = False
    enable_acl = False

    def __init__(
        self,
        fs: FileSystem,
        *,
        timeout_s: float,
        note_use: Callable[[], None],
        requests: Requests | None = None,
        announcements: Announcements | None = None,
    ) -> None:
        super().__init__()
        self._fs = fs
        self.requests = requests or Requests(fs.handles)
        self._timeout_s = timeout_s
        self._note_use = note_use
        self._announcements = announcements
        self.announced: AnnouncedRequests | None = None
        if announcements is not None:
            self.announced = AnnouncedRequests(fs, announcements, self._known, self._attributes)

    def note_change(self, parent: int, name: bytes) -> None:
        """Note that a program here changed a name."""
        if self._announcements is not None:
            self._announcements.changed_here(parent, name)

    # -- names

    @answering
    async def lookup(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        self._note_use()
        timeout_s = self._timeout_s if self._fs.namespace.is_lasting(parent_inode) else 0.0
        try:
            inode = self._fs.namespace.lookup(parent_inode, name)
        except NotFound:
            # Not ENOENT: the kernel caches that a name is missing only from an entry with inode 0.
            is_leaving = self._announcements is not None and self._announcements.is_leaving(parent_inode, name)
            return absent_entry(0.0 if is_leaving else timeout_s)
        return self._known(inode, timeout_s)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        # FORGET has no reply, so no error can be answered; one bad inode must not spoil the others of the batch.
        for ino, count in inode_list:
            try:
                [tree_ino] = self.in_tree((ino,), {0})
                self._fs.namespace.forget(tree_ino, count)
            except Exception:
                _log.exception("forget of inode %d", ino)

    @answering
    async def mknod(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._known(self._fs.namespace.mknod(parent_inode, name, mode, rdev, ctx))

    @answering
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._known(self._fs.namespace.mkdir(parent_inode, name, mode, ctx))

    @answering
    async def symlink(
        self, parent_inode: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._known(self._fs.namespace.symlink(parent_inode, name, target, ctx))

    @answering
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(self._fs.namespace.readlink(inode))

    @answering
    async def link(
        self, inode: InodeT, new_parent_inode: InodeT, new_name: FileNameT, ctx: RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._known(self._fs.namespace.link(inode, new_parent_inode, new_name))

    @answering
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self._fs.namespace.unlink(parent_inode, name)

    @answering
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self._fs.namespace.rmdir(parent_inode, name)

    @answering
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        self._fs.namespace.rename(parent_inode_old, name_old, parent_inode_new, name_new, flags)

    # -- directories

    @answering
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        self._note_use()
        return FileHandleT(self._fs.namespace.opendir(inode))

    @answering
    async def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        for page in self._fs.namespace.pages(fh, start_id):
            for entry in page:
                attributes = self._attributes(entry)
                if not pyfuse3.readdir_reply(token, FileNameT(entry.name.encode()), attributes, entry.cookie):
                    # The reply is full, and this entry is not in it: the kernel asks again from the last cookie.
                    return
                if entry.cookie > COOKIES_BELOW:
                    # An entry of a listing counts as a lookup, `.` and `..` do not.
                    self._fs.handles.looked_up(entry.ino)
            if not page:
                # Thousands of hidden names are no reason for the others to wait (H8).
                await trio.lowlevel.checkpoint()

    @answering
    async def releasedir(self, fh: FileHandleT) -> None:
        self._fs.namespace.releasedir(fh)

    @answering
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        await self._fs.namespace.fsyncdir()

    # -- attributes

    @answering
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> pyfuse3.EntryAttributes:
        return self._attributes(self._fs.attributes.getattr(inode))

    @answering
    async def setattr(
        self,
        inode: InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> pyfuse3.EntryAttributes:
        changed = await self._fs.attributes.setattr(inode, attribute_change(attr, fields), fh)
        return self._attributes(changed)

    @answering
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        return statvfs(self._fs.attributes.statfs(), COMPONENT_BYTES)

    @answering
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return self._fs.xattrs.getxattr(inode, name)

    @answering
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        return [XAttrNameT(name) for name in self._fs.xattrs.listxattr(inode)]

    @answering
    async def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        self._fs.xattrs.setxattr(inode, name, value)

    @answering
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        self._fs.xattrs.removexattr(inode, name)

    # -- files

    @answering
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> pyfuse3.FileInfo:
        self._note_use()
        handle = await self._fs.files.open(inode, flags, ctx)
        return _file_info(handle)

    @answering
    async def create(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        self._note_use()
        inode, handle = await self._fs.files.create(parent_inode, name, mode, flags, ctx)
        return _file_info(handle), self._known(inode)

    @answering
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        return await self._fs.files.read(fh, off, size)

    @answering
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        return await self._fs.files.write(fh, off, buf)

    @answering
    async def flush(self, fh: FileHandleT) -> None:
        if fh != HELPER_FH:
            await self._fs.files.flush(fh)

    @answering
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        await self._fs.files.fsync(fh)

    @answering
    async def release(self, fh: FileHandleT) -> None:
        if fh != HELPER_FH:
            await self._fs.files.release(fh)

    # -- the root of the mount, which may be a folder of the tree

    def in_tree(self, arguments: tuple[Any, ...], inodes: Collection[int]) -> tuple[Any, ...]:
        """Return the arguments with the tree's number for the mount's root; `inodes` are the places of numbers."""
        root = self._fs.view.root_ino
        if root == ROOT_INO:
            return arguments
        numbered = enumerate(arguments)
        return tuple(root if place in inodes and given == ROOT_INO else given for place, given in numbered)

    def _known(self, inode: Inode, timeout_s: float | None = None) -> pyfuse3.EntryAttributes:
        # Invariant: each entry in a reply to the kernel counts one lookup, which a forget takes back.
        self._fs.handles.looked_up(inode.ino)
        return self._attributes(inode, timeout_s)

    def _attributes(self, record: Inode | Entry, timeout_s: float | None = None) -> pyfuse3.EntryAttributes:
        shown, is_lasting = self._fs.attributes.shown(record)
        attributes = entry_attributes(shown, self._timeout_s if timeout_s is None else timeout_s)
        if not is_lasting:
            attributes.attr_timeout = 0.0
        if record.ino == self._fs.view.root_ino:
            attributes.st_ino = InodeT(ROOT_INO)
        return attributes


def _file_info(handle: OpenFile) -> pyfuse3.FileInfo:
    # The bytes of an inode change only through the kernel, so its pages stay valid from one open to the next. While the
    # length is not certain, the file is read without the page cache: the kernel would cut it at the listed length.
    return pyfuse3.FileInfo(fh=FileHandleT(handle.fh), keep_cache=not handle.direct, direct_io=handle.direct)
