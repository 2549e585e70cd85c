"""A folder of the kernel's, ext4 or a mount, driven by system calls as the model is by its verbs."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.model.model import XATTR_PREFIX, Facts, Model

_LIBC = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100


class Folder:
    """What `root` holds."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._slots: dict[int, int] = {}

    def close_all(self) -> None:
        for slot in list(self._slots):
            self.close(slot)

    # -- looking

    def tree(self) -> dict[str, Facts]:
        return {path: _facts(entry) for path, entry in self._walk(self.root)}

    def _walk(self, folder: Path) -> Iterator[tuple[str, Path]]:
        for name in os.listdir(folder):
            entry = folder / name
            yield str(entry.relative_to(self.root)), entry
            if stat.S_ISDIR(entry.lstat().st_mode):
                yield from self._walk(entry)

    # -- names

    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self.root / path, mode)

    def symlink(self, path: str, target: str) -> None:
        os.symlink(target, self.root / path)

    def link(self, old: str, new: str) -> None:
        os.link(self.root / old, self.root / new)

    def unlink(self, path: str) -> None:
        os.unlink(self.root / path)

    def rmdir(self, path: str) -> None:
        os.rmdir(self.root / path)

    def rename(self, old: str, new: str, flags: int) -> None:
        names = (os.fsencode(self.root / name) for name in (old, new))
        source, target = names
        if _LIBC.renameat2(_AT_FDCWD, source, _AT_FDCWD, target, flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    # -- attributes

    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self.root / path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        os.chown(self.root / path, uid, gid)

    def utimens(self, path: str, mtime_ns: int) -> None:
        os.utime(self.root / path, ns=(mtime_ns, mtime_ns))

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        os.setxattr(self.root / path, XATTR_PREFIX + name, value)

    def removexattr(self, path: str, name: str) -> None:
        os.removexattr(self.root / path, XATTR_PREFIX + name)

    def truncate(self, path: str, size: int) -> None:
        os.truncate(self.root / path, size)

    # -- open files

    def open(self, slot: int, path: str, flags: int, mode: int) -> None:
        fd = os.open(self.root / path, flags, mode)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._put(slot, fd)

    def dup(self, slot: int, other: int) -> None:
        self._put(other, os.dup(self._fd(slot)))

    def close(self, slot: int) -> None:
        fd = self._fd(slot)
        del self._slots[slot]
        os.close(fd)

    def read(self, slot: int, offset: int, size: int) -> bytes:
        return os.pread(self._fd(slot), size, offset)

    def write(self, slot: int, offset: int, data: bytes) -> int:
        return os.pwrite(self._fd(slot), data, offset)

    def ftruncate(self, slot: int, size: int) -> None:
        os.ftruncate(self._fd(slot), size)

    def fsync(self, slot: int) -> None:
        os.fsync(self._fd(slot))

    def _fd(self, slot: int) -> int:
        if slot not in self._slots:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._slots[slot]

    def _put(self, slot: int, fd: int) -> None:
        old = self._slots.get(slot)
        self._slots[slot] = fd
        if old is not None:
            os.close(old)

    # -- what happens to a mount

    def foreign(self, path: str, data: bytes, downloadable: bool, file_id: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def vanish(self, label: str, gone: list[str]) -> None:
        for path in gone:
            entry = self.root / path
            if entry.is_dir():
                entry.rmdir()
            else:
                entry.unlink()

    def drain(self) -> None:
        """Nothing to do."""

    def assert_served(self, model: Model) -> None:
        """Nothing to compare."""

    def drop_caches(self) -> None:
        """Nothing to do."""

    def remount(self) -> None:
        self.close_all()

    def crash(self) -> None:
        self.close_all()


def _facts(entry: Path) -> Facts:
    status = entry.lstat()
    is_file, is_link = stat.S_ISREG(status.st_mode), stat.S_ISLNK(status.st_mode)
    return Facts(
        stat.filemode(status.st_mode),
        status.st_nlink,
        (status.st_uid, status.st_gid),
        status.st_size if is_file else None,
        _unless_refused(entry.read_bytes) if is_file else None,
        os.readlink(entry) if is_link else None,
        {} if is_link else _xattrs(entry),
        status.st_mtime_ns,
    )


def _xattrs(entry: Path) -> dict[str, bytes]:
    names = [name for name in os.listxattr(entry) if name.startswith(XATTR_PREFIX)]
    return {name.removeprefix(XATTR_PREFIX): os.getxattr(entry, name) for name in names}


def _unless_refused(read: Callable[[], bytes]) -> bytes | None:
    try:
        return read()
    except PermissionError:
        return None
