"""What the tests of POSIX calls share: expecting an errno, being another person, the calls that `os` does not have.

Each test runs in a folder of its own, which is also its working directory: its paths are relative, so that another
person can follow them whatever the modes of the folders above.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import pytest

libc = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, AT_SYMLINK_FOLLOW, AT_EACCESS = -100, 0x400, 0x200
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
# glibc's setgroups() changes every thread of the process; the system call behind it only the one that asks.
_SYS_SETGROUPS = {"x86_64": 116, "aarch64": 159}
# CLOCK_REALTIME_COARSE of <time.h>: the clock of time stamps, which ticks every few milliseconds.
_COARSE_CLOCK = 5
# Long ago, so that whatever moves a time moves it visibly.
LONG_AGO_S = 1_000_000_000


# -- errors


@contextmanager
def fails(name: str) -> Iterator[None]:
    """The block ends with the OSError of this name."""
    with pytest.raises(OSError) as raised:
        yield
    assert raised.value.errno == getattr(errno, name), raised.value


def outcome(call: Callable[..., object], *arguments: object) -> str:
    """`ok`, or the name of the errno, of a call with these arguments."""
    try:
        call(*arguments)
    except OSError as problem:
        return errno.errorcode[problem.errno or 0]
    return "ok"


def checked(result: int) -> int:
    """The result of a C function that tells of failure by -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# -- people


@dataclass(frozen=True)
class Person:
    """Somebody without privileges: `with ALICE: ...` is access to files by them, in this thread."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()

    def __enter__(self) -> None:
        _set_groups(self.groups)
        libc.setfsgid(self.gid)
        libc.setfsuid(self.uid)

    def __exit__(self, *_: object) -> None:
        libc.setfsuid(0)
        libc.setfsgid(0)
        _set_groups(())


def _set_groups(groups: tuple[int, ...]) -> None:
    number = _SYS_SETGROUPS[platform.machine()]
    checked(libc.syscall(number, len(groups), (ctypes.c_uint32 * len(groups))(*groups)))


class Myself(Person):
    """The one who runs the tests, with the rights that they have."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


STAFF, GUESTS = 3001, 3002
ALICE = Person(2001, 2001, (STAFF,))
BOB = Person(2002, 2002, (STAFF,))
CAROL = Person(2003, 2003)
# Whoever has no privileges: tests that need nobody else run for an ordinary user too.
CALLER = ALICE if os.geteuid() == 0 else Myself(os.geteuid(), os.getegid())


# -- calls


def rename2(source: str | bytes, target: str | bytes, flags: int) -> None:
    """renameat2(2)."""
    checked(libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags))


def link_through(source: str, target: str) -> None:
    """linkat(2) of what a symbolic link leads to."""
    checked(libc.linkat(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), AT_SYMLINK_FOLLOW))


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def utimens(path: str, atime_nsec: int, mtime_nsec: int, seconds: int = LONG_AGO_S) -> None:
    """utimensat(2) with nanoseconds that may be UTIME_NOW or UTIME_OMIT."""
    times = (_Timespec * 2)(_Timespec(seconds, atime_nsec), _Timespec(seconds, mtime_nsec))
    checked(libc.utimensat(AT_FDCWD, os.fsencode(path), times, 0))


class Dirent(NamedTuple):
    """An entry as getdents64(2) gives it; `offset` is where to go on behind it."""

    ino: int
    offset: int
    kind: int
    name: str


def getdents(fd: int, size: int = 1 << 15) -> list[Dirent]:
    """The next entries, as many as fit into `size` bytes; none at the end."""
    buffer = ctypes.create_string_buffer(size)
    count = checked(libc.getdents64(fd, buffer, size))
    entries, at = [], 0
    while at < count:
        raw = buffer.raw[at:count]
        length = int.from_bytes(raw[16:18], "little")
        name = raw[19:length].split(b"\0")[0].decode()
        entries.append(
            Dirent(int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:16], "little", signed=True), raw[18], name)
        )
        at += length
    return entries


def write_file(path: str, content: bytes = b"content", mode: int = 0o644) -> None:
    """A closed file with this content and exactly this mode."""
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def read_file(path: str) -> bytes:
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


@contextmanager
def opened(path: str, flags: int, mode: int = 0o644) -> Iterator[int]:
    """A descriptor for the length of a block."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def mode_of(path: str) -> int:
    """The permission bits, set-uid and its like among them."""
    return stat.S_IMODE(os.lstat(path).st_mode)


# -- times


def age(*paths: str) -> None:
    """Set atime and mtime back, and let the clock of the kernel's time stamps tick once, so that ctime can move."""
    for path in paths:
        os.utime(path, (LONG_AGO_S, LONG_AGO_S), follow_symlinks=False)
    last = max(os.lstat(path).st_ctime_ns for path in paths)
    while time.clock_gettime_ns(_COARSE_CLOCK) <= last:
        pass


def times(path: str) -> dict[str, int]:
    """The three times in nanoseconds by the first letter of their names."""
    status = os.lstat(path)
    return {"a": status.st_atime_ns, "m": status.st_mtime_ns, "c": status.st_ctime_ns}


def moved(path: str, before: dict[str, int]) -> str:
    """Which of the three times are others now: `mc` for mtime and ctime."""
    return "".join(letter for letter, value in times(path).items() if value != before[letter])
