"""The verbs on names: lookup, create, link, unlink, rename, readdir. None of them waits for anything (A1)."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from itertools import chain
from typing import Protocol

from remotefs import names
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.intents.intents import Intents
from remotefs.errors import AccessDenied, AlreadyExists, InvalidArgument, NotFound, NotPermitted
from remotefs.store.records import Entry, Inode
from remotefs.store.store import Store
from remotefs.store.tree import COOKIES_BELOW
from remotefs.vfs.byid import ById
from remotefs.vfs.handles import Handles
from remotefs.vfs.view import View

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
# Entries that one query reads; one reply to the kernel holds up to about 200.
_PAGE = 256


class Caller(Protocol):
    """The process that made a system call."""

    @property
    def uid(self) -> int:
        """Return the effective user id."""
        ...

    @property
    def gid(self) -> int:
        """Return the effective group id."""
        ...


class Namespace:
    """Looks up, makes, moves and removes the entries of directories; schedules the intents that follow from it."""

    def __init__(
        self,
        store: Store,
        intents: Intents,
        sweeper: Sweeper,
        handles: Handles,
        byid: ById,
        view: View,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._planner = intents.planner
        self._unlinker = intents.unlinker
        self._renamed_folders = intents.renamed_folders
        self._options = intents.upload_options
        self._sweeper = sweeper
        self._handles = handles
        self._byid = byid
        self._view = view

    # -- looking

    def lookup(self, parent: int, name: bytes) -> Inode:
        """Return the inode that has a name in a directory. Raises NotFound, NameTooLong, BadName."""
        if name in {b".", b".."}:
            inode = self.inode(parent)
            return self._above(inode) if name == b".." else inode
        text = names.check_component(name)
        found = None if self._view.hides(text) else self._tree.lookup(parent, text)
        if found is None and (self._byid.is_virtual(parent) or text == names.RESERVED):
            found = self._byid.lookup(parent, text)
        if found is None:
            raise NotFound(f"{os.fsdecode(name)}: no such file or directory")
        return found

    def is_lasting(self, parent: int) -> bool:
        """Return whether the kernel may cache names of the directory: it is notified when one changes its meaning."""
        return not self._byid.is_virtual(parent)

    def inode(self, ino: int) -> Inode:
        """Return an inode of the tree or a virtual directory. Raises NotFound."""
        return self._byid.inode(ino) if self._byid.is_virtual(ino) else self._tree.get(ino)

    def readlink(self, ino: int) -> bytes:
        """Return the target of a symbolic link. Raises InvalidArgument for anything else."""
        inode = self._tree.get(ino)
        if inode.target is None:
            raise InvalidArgument(f"inode {ino} is not a symbolic link")
        return inode.target

    def opendir(self, ino: int) -> int:
        """Open a directory; return the number of its handle."""
        return self._handles.open_directory(self.inode(ino).ino)

    def readdir(self, fh: int, cookie: int) -> Iterator[Entry]:
        """Yield the entries after `cookie` (0: all), `.` and `..` first; stable while entries come and go."""
        return chain.from_iterable(self.pages(fh, cookie))

    def pages(self, fh: int, cookie: int) -> Iterator[list[Entry]]:
        """Yield what `readdir` does in pages; one is empty where all of its names are hidden."""
        ino = self._handles.directory(fh)
        if cookie < COOKIES_BELOW:
            directory = self.inode(ino)
            here, above = Entry.of(1, ".", directory), Entry.of(2, "..", self._above(directory))
            yield [here, above] if cookie < 1 else [above]
        while page := self._tree.entries(ino, after=max(cookie, COOKIES_BELOW), limit=_PAGE):
            yield [entry for entry in page if not self._view.hides(entry.name)]
            if len(page) < _PAGE:
                return
            cookie = page[-1].cookie

    def releasedir(self, fh: int) -> None:
        """Close a directory handle."""
        self._handles.close_directory(fh)

    async def fsyncdir(self) -> None:
        """Return once all entries made so far survive a power cut."""
        await self._db.durable()

    # -- making

    def mknod(self, parent: int, name: bytes, mode: int, rdev: int, caller: Caller) -> Inode:
        """Make a regular file, a FIFO, a socket or a device node; return its inode.

        Only regular files get to the service; the others exist on this machine alone (N5).
        """
        text = self._new_name(parent, name)
        now = time.time_ns()
        with self._db.transaction():
            inode = self._make(parent, text, mode, caller, now, rdev=rdev)
            if not inode.is_file:
                return inode
            self._options.inherit(parent, inode.ino)
            return self._planner.closed(inode.ino)

    def mkdir(self, parent: int, name: bytes, mode: int, caller: Caller) -> Inode:
        """Make a directory; return its inode."""
        text = self._new_name(parent, name)
        inherited = self._tree.get(parent).mode & stat.S_ISGID
        return self._make(parent, text, stat.S_IFDIR | stat.S_IMODE(mode) | inherited, caller, time.time_ns())

    def symlink(self, parent: int, name: bytes, target: bytes, caller: Caller) -> Inode:
        """Make a symbolic link; return its inode."""
        text = self._new_name(parent, name)
        return self._make(parent, text, stat.S_IFLNK | 0o777, caller, time.time_ns(), target=target)

    def link(self, ino: int, parent: int, name: bytes) -> Inode:
        """Give a file one more name, and return its inode. It stays one remote file (N5)."""
        text = self._new_name(parent, name)
        if self._tree.get(ino).is_dir:
            raise NotPermitted(f"{text}: a directory has one name")
        if self._tree.get(ino).nlink == 0:
            raise NotFound(f"{text}: the file was removed")
        now = time.time_ns()
        with self._db.transaction():
            inode = self._tree.link(ino, parent, text, now_ns=now)
            self._own(parent)
            self._planner.schedule(inode)
            return inode

    # -- removing

    def unlink(self, parent: int, name: bytes) -> None:
        """Remove a name. Removing the last one frees the file once no handle has it open (W9)."""
        now = time.time_ns()
        text = self._present_name(parent, name)
        with self._db.transaction():
            inode = self._tree.unlink(parent, text, now_ns=now)
            self._own(parent)
            self._unlinker.unlinked(inode, path=self._tree.path_of(parent, text))
        self._discard_if_gone(inode)

    def rmdir(self, parent: int, name: bytes) -> None:
        """Remove an empty directory."""
        with self._db.transaction():
            inode = self._tree.rmdir(parent, self._present_name(parent, name), now_ns=time.time_ns())
            self._own(parent)
            if not self._handles.is_known(inode.ino):
                self._tree.forget(inode.ino)

    def forget(self, ino: int, count: int) -> None:
        """Take lookup counts back from the kernel; free an unlinked inode after the last."""
        if not self._handles.forget(ino, count):
            return
        inode = self._tree.find(ino)
        if inode is not None and inode.nlink == 0 and not self._handles.is_open(ino):
            self._unlinker.release(inode)

    # -- moving

    def rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, flags: int) -> None:
        """Move an entry. The move counts here at once; the service follows (W7). Raises the errors of rename(2)."""
        if flags not in {0, RENAME_NOREPLACE, RENAME_EXCHANGE}:
            raise InvalidArgument(f"rename flags {flags:#x} are not supported")
        source, target = self._present_name(parent, name), self._new_name(new_parent, new_name)
        moving, present = self.lookup(parent, name), self._tree.lookup(new_parent, target)
        self._check_not_beneath(moving, new_parent)
        if flags == RENAME_EXCHANGE:
            self._exchange(parent, source, new_parent, target, moving, present)
        elif flags == RENAME_NOREPLACE and present is not None:
            raise AlreadyExists(f"{target} exists already")
        else:
            self._move(parent, source, new_parent, target, moving)

    def _move(self, parent: int, source: str, new_parent: int, target: str, moving: Inode) -> None:
        now = time.time_ns()
        with self._db.transaction():
            replaced = self._tree.rename(parent, source, new_parent, target, now_ns=now)
            self._own(parent, new_parent)
            self._follow(moving.ino)
            if replaced is not None and replaced.is_dir:
                self._forget_unknown(replaced)
            elif replaced is not None:
                self._unlinker.replaced(replaced, moving.ino)
        if replaced is not None:
            self._discard_if_gone(replaced)

    def _exchange(
        self, parent: int, source: str, new_parent: int, target: str, moving: Inode, present: Inode | None
    ) -> None:
        if present is None:
            raise NotFound(f"{target}: no such file or directory")
        self._check_not_beneath(present, parent)
        now = time.time_ns()
        with self._db.transaction():
            self._tree.exchange(parent, source, new_parent, target, now_ns=now)
            self._own(parent, new_parent)
            self._follow(moving.ino)
            self._follow(present.ino)

    def _follow(self, ino: int) -> None:
        """Bring the intents of an inode in line with its new path; those of the files beneath it follow (W7)."""
        inode = self._tree.get(ino)
        if not inode.is_dir:
            self._planner.schedule(inode)
            return
        self._own(ino)
        self._renamed_folders.renamed(ino)

    def _check_not_beneath(self, moving: Inode, new_parent: int) -> None:
        if moving.is_dir and self._tree.is_beneath(new_parent, moving.ino):
            raise InvalidArgument("a directory cannot be moved into itself")

    # -- common

    def _above(self, directory: Inode) -> Inode:
        """Return the directory that `..` names: nothing lies above the root of the mount."""
        is_root = directory.ino == self._view.root_ino
        return directory if is_root else self.inode(directory.parent or self._view.root_ino)

    def _present_name(self, parent: int, name: bytes) -> str:
        """Return a checked name that may be moved or removed. Raises NotFound, AccessDenied, BadName."""
        text = self._name(parent, name)
        if self._view.hides(text):
            raise NotFound(f"{text}: no such file or directory")
        return text

    def _new_name(self, parent: int, name: bytes) -> str:
        """Return a checked name that may be made in a directory, or replaced. Raises AccessDenied, BadName."""
        text = self._name(parent, name)
        if self._view.hides(text):
            raise AccessDenied(f"{text}: the setting [names] hidden hides this name here, so it cannot be made")
        return text

    def _name(self, parent: int, name: bytes) -> str:
        text = names.check_component(name)
        if self._byid.is_virtual(parent) or (parent == self._view.root_ino and text == names.RESERVED):
            raise AccessDenied(f"{names.RESERVED} at the root belongs to remotefs")
        return text

    def _make(
        self,
        parent: int,
        name: str,
        mode: int,
        caller: Caller,
        now_ns: int,
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Inode:
        directory = self._tree.get(parent)
        gid = directory.gid if directory.mode & stat.S_ISGID else caller.gid
        with self._db.transaction():
            made = self._tree.create(
                parent, name, mode, uid=caller.uid, gid=gid, now_ns=now_ns, rdev=rdev, target=target
            )
            self._own(parent)
            return made

    def _own(self, *directories: int) -> None:
        """Let directories that were changed here outlive their last remote file (design: defaults)."""
        for ino in dict.fromkeys(directories):
            if self._tree.get(ino).implied:
                self._tree.update(ino, implied=0)

    def _forget_unknown(self, directory: Inode) -> None:
        if not self._handles.is_known(directory.ino):
            self._tree.forget(directory.ino)

    def _discard_if_gone(self, inode: Inode) -> None:
        if inode.nlink == 0 and inode.staged_gen is not None and not self._handles.is_open(inode.ino):
            self._sweeper.discard(inode.ino, inode.staged_gen)
