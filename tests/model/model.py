"""The reference: what a POSIX tree must look like, in plain Python dicts.

Paths are relative to the root, without `.` and `..`. A symbolic link points to nowhere, so that following it is ENOENT.
Nobody is refused anything, as root is not. A verb raises OSError with the errno that the system call has.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
XATTR_PREFIX = "user.test."
# The owner of whatever is made, or found at the service: who runs the tests is who mounted.
MOUNTER = os.getuid(), os.getgid()
# The kernel stamps files of ext4 with the time of its last tick.
_TICK_NS = 20_000_000


@dataclass
class Span:
    """When something happened: between two times (ns), the latter unknown while it happens."""

    first: int
    last: int | None = None

    def covers(self, time_ns: int) -> bool:
        """Whether a file may be stamped with that time."""
        if self.first == self.last:
            return time_ns == self.first
        return self.first - _TICK_NS <= time_ns and (self.last is None or time_ns <= self.last + _TICK_NS)


class Facts(NamedTuple):
    """All that is compared of one name; `data` is None where the bytes cannot be had, `mtime` is in ns."""

    mode: str
    nlink: int
    owner: tuple[int, int]
    size: int | None
    data: bytes | None
    target: str | None
    xattrs: dict[str, bytes]
    mtime: int | Span


@dataclass(eq=False)
class Node:
    """An inode."""

    mode: int
    owner: tuple[int, int]
    mtime: Span
    nlink: int = 1
    data: bytes = b""
    entries: dict[str, Node] = field(default_factory=dict)
    target: str | None = None
    xattrs: dict[str, bytes] = field(default_factory=dict)
    # The id of somebody else's remote file whose bytes these are.
    foreign_id: str | None = None
    readable: bool = True
    # A folder that is there for the sake of others' files alone.
    implied: bool = False

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    def facts(self) -> Facts:
        nlink = 2 + sum(node.is_dir for node in self.entries.values()) if self.is_dir else self.nlink
        data = self.data if self.is_file and self.readable else None
        size = len(self.data) if self.is_file else None
        return Facts(
            stat.filemode(self.mode), nlink, self.owner, size, data, self.target, dict(self.xattrs), self.mtime
        )


@dataclass(eq=False)
class Description:
    """An open file description, shared by the descriptors that dup makes."""

    node: Node
    flags: int

    @property
    def access(self) -> int:
        return self.flags & os.O_ACCMODE


class Model:
    """A tree and open descriptors, by small numbers of the test's own."""

    def __init__(self) -> None:
        self.now = Span(time.time_ns())
        self.root = Node(stat.S_IFDIR | 0o755, MOUNTER, self.now)
        self.slots: dict[int, Description] = {}

    # -- time

    def begin(self) -> None:
        """A step begins."""
        self.now = Span(time.time_ns())

    def end(self) -> None:
        """The step is over, everywhere."""
        self.now.last = time.time_ns()

    # -- looking

    def walk(self, folder: Node | None = None, prefix: str = "") -> Iterator[tuple[str, Node]]:
        """Every path with its inode, folders before what is in them."""
        for name, node in (folder or self.root).entries.items():
            yield prefix + name, node
            yield from self.walk(node, f"{prefix}{name}/") if node.is_dir else ()

    def tree(self) -> dict[str, Facts]:
        """Facts by path."""
        return {path: node.facts() for path, node in self.walk()}

    def files(self) -> list[tuple[Node, list[str]]]:
        """Each regular file once, with its paths."""
        paths: dict[Node, list[str]] = {}
        for path, node in self.walk():
            if node.is_file:
                paths.setdefault(node, []).append(path)
        return list(paths.items())

    def is_free_for_others(self, path: str) -> bool:
        """Whether a file that another client names so would be shown just so."""
        folder = self.root
        *above, name = path.split("/")
        for part in above:
            found = folder.entries.get(part)
            if found is None:
                return True
            if not found.is_dir:
                return False
            folder = found
        return name not in folder.entries

    def _place(self, path: str) -> tuple[Node, str]:
        folder = self.root
        *above, name = path.split("/")
        for part in above:
            folder = _existing(folder, part)
            if not folder.is_dir:
                raise _error(errno.ENOENT if folder.target else errno.ENOTDIR)
        return folder, name

    def _find(self, path: str, *, follow: bool = True) -> Node:
        node = _existing(*self._place(path))
        if follow and node.target is not None:
            raise _error(errno.ENOENT)
        return node

    # -- names

    def mkdir(self, path: str, mode: int) -> None:
        folder, name = self._free_place(path)
        inherited = folder.mode & stat.S_ISGID
        self._add(folder, name, self._made(folder, stat.S_IFDIR | mode | inherited))

    def symlink(self, path: str, target: str) -> None:
        folder, name = self._free_place(path)
        self._add(folder, name, replace(self._made(folder, stat.S_IFLNK | 0o777), target=target))

    def link(self, old: str, new: str) -> None:
        node = self._find(old, follow=False)
        folder, name = self._free_place(new)
        if node.is_dir:
            raise _error(errno.EPERM)
        node.nlink += 1
        self._add(folder, name, node)

    def unlink(self, path: str) -> None:
        folder, name = self._place(path)
        if _existing(folder, name).is_dir:
            raise _error(errno.EISDIR)
        self._remove(folder, name)

    def rmdir(self, path: str) -> None:
        folder, name = self._place(path)
        node = _existing(folder, name)
        if not node.is_dir:
            raise _error(errno.ENOTDIR)
        if node.entries:
            raise _error(errno.ENOTEMPTY)
        self._remove(folder, name)

    def rename(self, old: str, new: str, flags: int) -> None:
        source, name = self._place(old)
        target, new_name = self._place(new)
        moving, present = _existing(source, name), target.entries.get(new_name)
        if flags == RENAME_NOREPLACE and present:
            raise _error(errno.EEXIST)
        if flags == RENAME_EXCHANGE and not present:
            raise _error(errno.ENOENT)
        if f"{new}/".startswith(f"{old}/") and new != old:
            raise _error(errno.EINVAL)
        if f"{old}/".startswith(f"{new}/") and new != old:
            raise _error(errno.EINVAL if flags == RENAME_EXCHANGE else errno.ENOTEMPTY)
        if present is moving:
            return
        if present and flags == RENAME_EXCHANGE:
            source.entries[name] = present
        else:
            self._make_way(moving, present)
            self._remove(source, name)
        if present and flags != RENAME_EXCHANGE:
            self._remove(target, new_name)
        moving.nlink += flags != RENAME_EXCHANGE
        target.entries[new_name] = moving
        for folder in (source, target):
            folder.mtime, folder.implied = self.now, False
        for moved in (moving, present or moving):
            moved.implied = False

    def _make_way(self, moving: Node, present: Node | None) -> None:
        if present is None:
            return
        if moving.is_dir != present.is_dir:
            raise _error(errno.ENOTDIR if moving.is_dir else errno.EISDIR)
        if present.entries:
            raise _error(errno.ENOTEMPTY)

    def _free_place(self, path: str) -> tuple[Node, str]:
        folder, name = self._place(path)
        if name in folder.entries:
            raise _error(errno.EEXIST)
        return folder, name

    def _made(self, folder: Node, mode: int) -> Node:
        return Node(mode, (MOUNTER[0], folder.owner[1] if folder.mode & stat.S_ISGID else MOUNTER[1]), self.now)

    def _add(self, folder: Node, name: str, node: Node) -> None:
        folder.entries[name] = node
        folder.mtime, folder.implied = self.now, False

    def _remove(self, folder: Node, name: str) -> None:
        folder.entries.pop(name).nlink -= 1
        folder.mtime, folder.implied = self.now, False

    # -- attributes

    def _changed(self, path: str) -> Node:
        node = self._find(path)
        node.implied = False
        return node

    def chmod(self, path: str, mode: int) -> None:
        node = self._changed(path)
        node.mode = stat.S_IFMT(node.mode) | mode

    def chown(self, path: str, uid: int, gid: int) -> None:
        node = self._changed(path)
        node.owner = (uid, gid)
        node.mode = after_chown(node.mode)

    def utimens(self, path: str, mtime_ns: int) -> None:
        self._changed(path).mtime = Span(mtime_ns, mtime_ns)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        self._changed(path).xattrs[name] = value

    def removexattr(self, path: str, name: str) -> None:
        if self._find(path).xattrs.pop(name, None) is None:
            raise _error(errno.ENODATA)

    def truncate(self, path: str, size: int) -> None:
        node = self._find(path)
        if node.is_dir:
            raise _error(errno.EISDIR)
        self._resize(node, size)

    # -- open files

    def open(self, slot: int, path: str, flags: int, mode: int) -> None:
        """Open as descriptor `slot`, closing what that was."""
        node = self._opened(path, flags, mode)
        self.slots[slot] = Description(node, flags)

    def _opened(self, path: str, flags: int, mode: int) -> Node:
        folder, name = self._place(path)
        node = folder.entries.get(name)
        if node is None and flags & os.O_CREAT:
            node = self._made(folder, stat.S_IFREG | mode)
            self._add(folder, name, node)
            return node
        if flags & os.O_EXCL:
            raise _error(errno.EEXIST if node else errno.ENOENT)
        node = self._find(path)
        if node.is_dir:
            raise _error(errno.EISDIR)
        if flags & os.O_TRUNC:
            if node.data:
                self._resize(node, 0)
            node.mtime = self.now
        elif not node.readable:
            raise _error(errno.EACCES)
        return node

    def dup(self, slot: int, other: int) -> None:
        self.slots[other] = self._description(slot)

    def close(self, slot: int) -> None:
        self._description(slot)
        del self.slots[slot]

    def read(self, slot: int, offset: int, size: int) -> bytes:
        description = self._description(slot)
        if description.access == os.O_WRONLY:
            raise _error(errno.EBADF)
        return description.node.data[offset : offset + size]

    def write(self, slot: int, offset: int, data: bytes) -> int:
        description = self._description(slot)
        if description.access == os.O_RDONLY:
            raise _error(errno.EBADF)
        if not data:  # it never reaches a file system
            return 0
        before = description.node.data
        at = len(before) if description.flags & os.O_APPEND else offset
        self._set_data(description.node, before[:at].ljust(at, b"\0") + data + before[at + len(data) :])
        return len(data)

    def ftruncate(self, slot: int, size: int) -> None:
        description = self._description(slot)
        if description.access == os.O_RDONLY:
            raise _error(errno.EINVAL)
        self._resize(description.node, size)

    def fsync(self, slot: int) -> None:
        self._description(slot)

    def _description(self, slot: int) -> Description:
        if slot not in self.slots:
            raise _error(errno.EBADF)
        return self.slots[slot]

    def _resize(self, node: Node, size: int) -> None:
        if size and not node.readable:
            raise _error(errno.EACCES)
        self._set_data(node, node.data[:size].ljust(size, b"\0"))

    def _set_data(self, node: Node, data: bytes) -> None:
        node.data, node.mtime = data, self.now
        node.foreign_id, node.readable = None, True

    # -- what happens to a mount

    def foreign(self, path: str, data: bytes, downloadable: bool, label: str) -> None:
        """Another client has uploaded a file, and it was listed."""
        folder = self.root
        *above, name = path.split("/")
        for part in above:
            folder = self._show(folder, part, Node(stat.S_IFDIR | 0o755, MOUNTER, self.now, implied=True))
        node = Node(stat.S_IFREG | 0o644, MOUNTER, self.now, data=data, foreign_id=label)
        node.readable = downloadable or not data
        self._show(folder, name, node)

    def _show(self, folder: Node, name: str, node: Node) -> Node:
        if name not in folder.entries:
            folder.entries[name] = node
            folder.mtime = self.now
        return folder.entries[name]

    def goes_with(self, path: str) -> tuple[str | None, list[str]]:
        """The label of somebody else's file that is not open, and what goes when they delete it, folders last."""
        node = dict(self.walk()).get(path)
        if node is None or node.foreign_id is None or any(node is slot.node for slot in self.slots.values()):
            return None, []
        gone = [name for name, other in self.walk() if other is node]
        for name, other in reversed(list(self.walk())):
            if other.implied and all(f"{name}/{entry}" in gone for entry in other.entries):
                gone += [name] if any(entry.startswith(f"{name}/") for entry in gone) else []
        return node.foreign_id, gone

    def vanish(self, label: str, gone: list[str]) -> None:
        """Another client has deleted a file, and all listings lack it."""
        for path in gone:
            folder, name = self._place(path)
            folder.entries.pop(name).nlink -= 1
            folder.mtime = self.now

    def drain(self) -> None:
        """Nothing changes in the tree."""

    def drop_caches(self) -> None:
        """Nothing changes in the tree."""

    def remount(self) -> None:
        """All descriptors are closed first."""
        self.slots.clear()

    def crash(self) -> None:
        """All descriptors are gone."""
        self.slots.clear()


def after_chown(mode: int) -> int:
    """The mode that chown(2) leaves: no set-uid, and no set-gid of a program."""
    if stat.S_ISDIR(mode):
        return mode
    return mode & ~stat.S_ISUID & ~(stat.S_ISGID if mode & stat.S_IXGRP else 0)


def _existing(folder: Node, name: str) -> Node:
    if name not in folder.entries:
        raise _error(errno.ENOENT)
    return folder.entries[name]


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
