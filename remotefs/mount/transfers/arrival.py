"""A file that comes to this machine: whole under its name, or not at all.

Its bytes go to a file of another name beside it, which is locked, so that two commands do not write into one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path

from remotefs.errors import AlreadyExists, NotADirectory
from remotefs.mount.copying import Looks, dress

# So many characters of a name stand in that of its part: with the rest it fits into 255 bytes, whatever they are.
_SHOWN_CHARACTERS = 40
_PERMISSIONS = 0o777


class Arrival:
    """One file on its way to `target`. All methods block; call `abandon` where `finish` was not reached."""

    def __init__(self, target: Path, looks: Looks, *, force: bool) -> None:
        self._target = target
        self._looks = looks
        self._force = force
        self._part = target.with_name(part_name(target.name))
        self._fd: int | None = None

    def begin(self) -> None:
        """Take the name of the part. Raises AlreadyExists, OSError: ENOSPC where there is no room for all of it."""
        check_free(self._target, force=self._force)
        room = os.statvfs(self._target.parent)
        if self._looks.size > room.f_bavail * room.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._lock(fd)
            os.ftruncate(fd, 0)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def write(self, data: bytes) -> None:
        """Add bytes at the end. Raises OSError."""
        assert self._fd is not None
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def finish(self) -> None:
        """Give the file its looks and its name. Raises AlreadyExists, OSError."""
        assert self._fd is not None
        dress(self._fd, self._looks)
        # A power cut must not leave a name without its bytes.
        os.fsync(self._fd)
        check_free(self._target, force=self._force)
        self._part.replace(self._target)
        os.close(self._fd)
        self._fd = None

    def abandon(self) -> None:
        """Remove the part; do nothing where it has become the file, or was never taken."""
        if self._fd is not None:
            with suppress(OSError):
                self._part.unlink()
            os.close(self._fd)
            self._fd = None

    def _lock(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who had it may have given it its name, or removed it, since it was opened.
            is_ours = os.fstat(fd).st_ino == self._part.stat().st_ino
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        if not is_ours:
            raise AlreadyExists("another command is fetching it")


def part_name(name: str) -> str:
    """Return the name of the file beside `name` that has its bytes until all are there."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name[:_SHOWN_CHARACTERS]}.{digest}.part"


def is_present(target: Path, looks: Looks) -> bool:
    """Return whether a file of this size and time is there: an earlier run has fetched it."""
    try:
        status = target.lstat()
    except OSError:
        return False
    is_same = (status.st_size, status.st_mtime_ns) == (looks.size, looks.mtime_ns)
    return stat.S_ISREG(status.st_mode) and is_same


def check_free(target: Path, *, force: bool) -> None:
    """Raise AlreadyExists where something else has the name, unless `force` replaces a file."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise AlreadyExists("a folder is there")
    if not force:
        raise AlreadyExists("it exists and is another; --force replaces it")


def make_folder(target: Path, mode: int | None = None) -> None:
    """Make a folder unless it is there. Raises NotADirectory for all else, links too: they would lead elsewhere."""
    try:
        there = target.lstat().st_mode
    except FileNotFoundError:
        target.mkdir()
        if mode is not None:
            target.chmod(stat.S_IMODE(mode) & _PERMISSIONS | stat.S_IRWXU)
        return
    if not stat.S_ISDIR(there):
        raise NotADirectory(f"{target} is there and is not a folder")


def make_link(target: Path, points_to: bytes, *, force: bool) -> bool:
    """Make a symbolic link; return whether it had to be made. Raises AlreadyExists, OSError."""
    if target.is_symlink() and os.fsencode(target.readlink()) == points_to:
        return False
    check_free(target, force=force)
    part = target.with_name(part_name(target.name))
    part.unlink(missing_ok=True)
    part.symlink_to(os.fsdecode(points_to))
    part.replace(target)
    return True
