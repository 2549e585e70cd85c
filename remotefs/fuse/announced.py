"""The requests that the helper process of the announcements makes (M5): answered here, and by no other code.

None of them changes the tree, makes an intent or counts as use of the mount. What belongs to no announcement that is
due gets EPERM.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

import pyfuse3
from pyfuse3 import FileHandleT

from remotefs import names
from remotefs.errors import NotFound, NotPermitted
from remotefs.fuse.translate import absent_entry
from remotefs.store.records import Inode
from remotefs.vfs.announcements import HELPER_FH, Announcements
from remotefs.vfs.filesystem import FileSystem

_UNCACHED_S = 0.0


class AnnouncedRequests:
    """Answers the helper.

    `known` gives an inode to the kernel for a number of seconds, by default as the mount does, and counts that;
    `attributes` only describes one.
    """

    def __init__(
        self,
        fs: FileSystem,
        announcements: Announcements,
        known: Callable[[Inode, float | None], pyfuse3.EntryAttributes],
        attributes: Callable[[Inode], pyfuse3.EntryAttributes],
    ) -> None:
        self._fs = fs
        self._announcements = announcements
        self._known = known
        self._attributes = attributes
        self._answers: dict[str, Callable[..., object]] = {
            "lookup": self._lookup,
            "getattr": self._getattr,
            "mknod": self._mknod,
            "mkdir": self._mkdir,
            "symlink": self._symlink,
            "unlink": self._unlink,
            "rmdir": self._unlink,
            "rename": self._rename,
            "setattr": self._setattr,
            "open": self._open,
        }

    def is_theirs(self, arguments: tuple[Any, ...]) -> bool:
        """Return whether a request comes from a helper: its last argument is the context, if it has one."""
        pids = self._announcements.pids
        return bool(pids) and getattr(arguments[-1], "pid", 0) in pids

    def answer(self, operation: str, arguments: tuple[Any, ...]) -> object:
        """Answer a request of a helper. Raises NotPermitted and as the file system does."""
        answer = self._answers.get(operation)
        if answer is None:
            raise NotPermitted(f"{operation} is no request of the helper")
        return answer(*arguments)

    def _lookup(self, parent: int, name: bytes, _: object) -> pyfuse3.EntryAttributes:
        if name == self._announcements.probe and parent == self._fs.view.root_ino:
            self._announcements.was_probed = True
            return absent_entry(_UNCACHED_S)
        text = names.check_component(name)
        if self._announcements.hides(parent, text):
            return absent_entry(_UNCACHED_S)
        recalled = self._announcements.recalled(parent, text)
        if recalled is not None:
            return self._known(recalled, _UNCACHED_S)
        try:
            return self._known(self._fs.namespace.lookup(parent, name), None)
        except NotFound:
            return absent_entry(_UNCACHED_S)

    def _getattr(self, ino: int, _: object) -> pyfuse3.EntryAttributes:
        return self._attributes(self._fs.attributes.getattr(ino))

    def _mknod(self, parent: int, name: bytes, mode: int, _rdev: int, _: object) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, stat.S_IFMT(mode))

    def _mkdir(self, parent: int, name: bytes, _mode: int, _: object) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, stat.S_IFDIR)

    def _symlink(self, parent: int, name: bytes, _target: bytes, _: object) -> pyfuse3.EntryAttributes:
        return self._made(parent, name, stat.S_IFLNK)

    def _made(self, parent: int, name: bytes, file_type: int) -> pyfuse3.EntryAttributes:
        return self._known(self._announcements.made(parent, names.check_component(name), file_type), None)

    def _unlink(self, parent: int, name: bytes, _: object) -> None:
        self._announcements.removed(parent, names.check_component(name))

    def _rename(self, parent: int, name: bytes, new_parent: int, new_name: bytes, _flags: int, _: object) -> None:
        self._announcements.moved(
            parent, names.check_component(name), new_parent, names.check_component(new_name)
        )  # fmt: skip

    def _setattr(
        self, ino: int, attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields, _fh: object, _: object
    ) -> pyfuse3.EntryAttributes:
        inode = self._announcements.touched(ino)
        others = (fields.update_size, fields.update_uid, fields.update_gid, fields.update_atime, fields.update_mtime)
        shown = self._attributes(inode)
        if any(others) or not fields.update_mode or stat.S_IMODE(attr.st_mode) != stat.S_IMODE(shown.st_mode):
            raise NotPermitted("the helper changes no attribute")
        return shown

    def _open(self, ino: int, flags: int, _: object) -> pyfuse3.FileInfo:
        inode = self._announcements.touched(ino)
        if not inode.is_file or flags & os.O_TRUNC or flags & os.O_ACCMODE != os.O_WRONLY:
            raise NotPermitted("the helper opens a file that came to close it")
        return pyfuse3.FileInfo(fh=FileHandleT(HELPER_FH), keep_cache=True)
