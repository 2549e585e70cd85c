"""The calls of the disk and the database, at the boundary of this process: each is recorded, and one can be made to fail.

    with Boundary(state_dir) as boundary:
        boundary.arm(Fault(call, trouble, mode))
        ...                          # whatever the product does: the calls that the fault is about fail
        boundary.heal()

A call belongs to the boundary when it is about the state folder, and a function of the product made it. It is known by
its kind, by the functions of the product that led to it, and by how many such calls came before. Nothing of the product
is replaced: only what it calls of the operating system and of SQLite.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import remotefs
from remotefs.store.disk import Disk

_PRODUCT = os.path.dirname(remotefs.__file__) + os.sep
_SERVER = os.path.join(_PRODUCT, "server") + os.sep
# So many of the functions that led to a call tell it from others.
_DEPTH = 6
# A call that fails in part writes so much of what it was asked to.
_SHORT = "SHORT"


class Mode(StrEnum):
    """How long a call fails."""

    ONCE = "once"
    # All calls of that kind made by that function, until it heals.
    A_WHILE = "while"
    # The whole disk, or the whole database, until it heals.
    ALL = "all"
    # The same, until the process ends.
    FOR_GOOD = "good"


@dataclass(frozen=True)
class Call:
    """One call: its kind, the functions that led to it (the innermost first), and its number among such calls, from 1."""

    kind: str
    chain: str
    nth: int = 1

    @property
    def caller(self) -> str:
        """Return the function that made the call; what every statement passes through does not count."""
        functions = self.chain.split("<")
        return next((one for one in functions if not one.startswith("Database.")), functions[0])

    def __str__(self) -> str:
        return f"{self.kind}|{self.chain}|{self.nth}"


@dataclass(frozen=True)
class Fault:
    """A call that fails, and how."""

    call: Call
    trouble: str
    mode: Mode

    def __str__(self) -> str:
        return f"{self.call}|{self.trouble}|{self.mode}"

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Return the fault that `str` wrote."""
        kind, chain, nth, trouble, mode = text.split("|")
        return cls(Call(kind, chain, int(nth)), trouble, Mode(mode))


# What may go wrong with each kind of call.
DISK: dict[str, tuple[str, ...]] = {
    "open": ("EMFILE", "EIO"),
    "create": ("ENOSPC", "EROFS", "EMFILE"),
    "read": ("EIO",),
    "write": ("ENOSPC", "EIO", _SHORT),
    "sync": ("EIO", "ENOSPC"),
    "truncate": ("ENOSPC", "EIO"),
    "rename": ("ENOSPC", "EIO", "EROFS"),
    "unlink": ("EIO", "EROFS"),
    "link": ("ENOSPC", "EIO"),
    "mkdir": ("ENOSPC", "EROFS"),
    "list": ("EMFILE", "EIO"),
    "stat": ("EIO",),
    "statvfs": ("EIO",),
    "allocate": ("ENOSPC",),
    "copy": ("ENOSPC", "EIO", "EXDEV"),
    "clone": ("EIO", "ENOSPC"),
    "getxattr": ("EIO",),
    "setxattr": ("ENOSPC", "EIO", "ENOTSUP"),
    "utime": ("EIO",),
    "dup": ("EMFILE",),
}
# An exclamation mark: SQLite has rolled back the whole transaction, as it does when it cannot go on.
DATABASE: dict[str, tuple[str, ...]] = {
    "connect": ("CANTOPEN", "BUSY"),
    "begin": ("BUSY", "IOERR"),
    "change": ("FULL", "FULL!", "IOERR!", "CORRUPT"),
    "commit": ("FULL!", "IOERR!", "BUSY"),
    "query": ("IOERR", "CORRUPT"),
    "fetch": ("IOERR",),
    "pragma": ("IOERR", "BUSY"),
    "vacuum": ("FULL", "IOERR"),
}
TROUBLES = DISK | DATABASE
# What the whole of a disk may have, and which calls it spoils then, with what SQLite says of it.
_CHANGING = {
    "create",
    "write",
    "truncate",
    "rename",
    "unlink",
    "link",
    "mkdir",
    "allocate",
    "copy",
    "setxattr",
    "utime",
}
_FILLING = {"create", "write", "link", "mkdir", "allocate", "copy", "setxattr"}
WHOLE: dict[str, tuple[set[str], dict[str, str]]] = {
    "ENOSPC": (_FILLING, {"change": "FULL!", "commit": "FULL!", "vacuum": "FULL"}),
    "EROFS": (_CHANGING, {"begin": "READONLY", "change": "READONLY", "vacuum": "READONLY"}),
    "EIO": (
        {*DISK} - {"statvfs", "getxattr", "dup"},
        {"connect": "CANTOPEN", "begin": "IOERR", "change": "IOERR!", "commit": "IOERR!", "query": "IOERR"},
    ),
    "EMFILE": ({"open", "create", "list", "dup"}, {"connect": "CANTOPEN"}),
    "locked": (set(), {"begin": "BUSY", "change": "BUSY", "pragma": "BUSY"}),
}
_CODES: dict[str, tuple[int, str, type[sqlite3.Error]]] = {
    "BUSY": (sqlite3.SQLITE_BUSY, "database is locked", sqlite3.OperationalError),
    "FULL": (sqlite3.SQLITE_FULL, "database or disk is full", sqlite3.OperationalError),
    "IOERR": (sqlite3.SQLITE_IOERR_READ, "disk I/O error", sqlite3.OperationalError),
    "CORRUPT": (sqlite3.SQLITE_CORRUPT, "database disk image is malformed", sqlite3.DatabaseError),
    "CANTOPEN": (sqlite3.SQLITE_CANTOPEN, "unable to open database file", sqlite3.OperationalError),
    "READONLY": (sqlite3.SQLITE_READONLY, "attempt to write a readonly database", sqlite3.OperationalError),
}


@dataclass
class Boundary:
    """The calls about `folder`. `recorded` has them all, in order; `hits` says how many were made to fail."""

    folder: Path
    recorded: list[Call] = field(default_factory=list)
    hits: int = 0
    fault: Fault | None = None
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _is_watching: bool = False
    _has_begun: bool = False
    _undo: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        patch = self._undo.enter_context(pytest.MonkeyPatch.context())
        for module, name, kind_of, subject_of in _CALLS:
            patch.setattr(module, name, self._watched(getattr(module, name), kind_of, subject_of))
        # It took the function when it was defined.
        patch.setattr(Disk.__init__, "__defaults__", (os.statvfs,))
        patch.setattr(sqlite3, "connect", partial(self._connect, sqlite3.connect))
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def arm(self, fault: Fault | None = None) -> None:
        """Record calls from here on, and let some of them fail."""
        self.fault, self._is_watching = fault, True

    def heal(self) -> None:
        """Let no call fail any more, and record none."""
        self.fault, self._is_watching = None, False

    # -- deciding

    def trouble(self, kind: str) -> str | None:
        """Record a call that is about to be made; return what goes wrong with it."""
        if not self._is_watching or kind not in TROUBLES or not (chain := _chain(sys._getframe(2))):
            return None
        self._counts[kind, chain] += 1
        call = Call(kind, chain, self._counts[kind, chain])
        self.recorded.append(call)
        trouble = self._decide(call) if self.fault is not None else None
        self.hits += trouble is not None
        return trouble

    def _decide(self, call: Call) -> str | None:
        fault = self.fault
        assert fault is not None
        if not self._has_begun:
            self._has_begun = call == fault.call
            if not self._has_begun:
                return None
            if fault.mode in {Mode.ONCE, Mode.A_WHILE}:
                return fault.trouble
        if fault.mode is Mode.ONCE:
            return None
        if fault.mode is Mode.A_WHILE:
            is_meant = (call.kind, call.caller) == (fault.call.kind, fault.call.caller)
            return fault.trouble if is_meant else None
        kinds, of_database = WHOLE[fault.trouble]
        return fault.trouble if call.kind in kinds else of_database.get(call.kind)

    def _is_ours(self, subject: object) -> bool:
        if not self._is_watching:
            return False
        if isinstance(subject, int):
            try:
                subject = os.readlink(f"/proc/self/fd/{subject}")
            except OSError:
                return False
        if not isinstance(subject, str | bytes | os.PathLike):
            return False
        path = os.fsdecode(subject)
        return any(path == str(folder) or path.startswith(f"{folder}/") for folder in self._ours())

    def _ours(self) -> Iterable[Path]:
        return (self.folder,)

    # -- the calls of the disk

    def _watched(self, call: Callable[..., Any], kind_of: Callable[..., str], subject_of: int) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if len(args) <= subject_of or not self._is_ours(args[subject_of]):
                return call(*args, **kwargs)
            trouble = self.trouble(kind_of(*args, **kwargs))
            if trouble == _SHORT:
                # A write of a part, as pwrite(2) may do it.
                descriptor, data, *rest = args
                return call(descriptor, memoryview(data)[: max(len(data) // 2, 1)], *rest)
            if trouble is not None:
                number = getattr(errno, trouble)
                raise OSError(number, os.strerror(number), *([] if isinstance(args[0], int) else [str(args[0])]))
            return call(*args, **kwargs)

        return watched

    # -- the calls of the database

    def _connect(self, connect: Callable[..., sqlite3.Connection], path: Any, *args: Any, **options: Any) -> Any:
        if not str(path).startswith(f"{self.folder}/"):
            return connect(path, *args, **options)
        if (trouble := self.trouble("connect")) is not None:
            raise _sqlite_error(trouble)
        boundary = self

        class Watched(_Connection):
            pass

        Watched.boundary = boundary
        return connect(path, *args, factory=Watched, **options)


class _Cursor(sqlite3.Cursor):
    """A cursor whose rows may not come."""

    def fetchone(self) -> Any:
        self._may_fail()
        return super().fetchone()

    def fetchall(self) -> list[Any]:
        self._may_fail()
        return super().fetchall()

    def _may_fail(self) -> None:
        connection = self.connection
        if isinstance(connection, _Connection) and (trouble := connection.boundary.trouble("fetch")) is not None:
            raise _sqlite_error(trouble)


class _Connection(sqlite3.Connection):
    """A connection whose statements may fail."""

    boundary: Boundary

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self._may_fail(sql)
        return super().execute(sql, parameters)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        self._may_fail("INSERT")
        return super().executescript(sql)

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def _may_fail(self, sql: str) -> None:
        trouble = self.boundary.trouble(_VERBS.get(sql.split(None, 1)[0], "other"))
        if trouble is None:
            return
        if trouble.endswith("!") and self.in_transaction:
            super().execute("ROLLBACK")
        raise _sqlite_error(trouble)


def _sqlite_error(trouble: str) -> sqlite3.Error:
    code, text, kind = _CODES[trouble.rstrip("!")]
    error = kind(text)
    error.sqlite_errorcode = code  # type: ignore[attr-defined,unused-ignore]  # as the module itself sets it
    return error


_VERBS = {
    "BEGIN": "begin",
    "COMMIT": "commit",
    "SELECT": "query",
    "WITH": "query",
    "INSERT": "change",
    "UPDATE": "change",
    "DELETE": "change",
    "PRAGMA": "pragma",
    "VACUUM": "vacuum",
}


def _chain(frame: FrameType | None) -> str:
    """Return the functions of the product that led to a call, the innermost first; "" when there are none."""
    found: list[str] = []
    for one in _frames(frame):
        name = one.f_code.co_filename
        if name.startswith(_SERVER):
            return ""
        if name.startswith(_PRODUCT) and not one.f_code.co_name.startswith("<") and len(found) < _DEPTH:
            function = one.f_code.co_qualname.replace(".<locals>", "") if sys.version_info >= (3, 11) else ""
            if not found or found[-1] != function:
                found.append(function)
    return "<".join(found)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _of_open(_: object, flags: int = 0, *__: object, **___: object) -> str:
    return "create" if flags & os.O_CREAT else "open"


def _of_io_open(_: object, mode: str = "r", *__: object, **___: object) -> str:
    return "create" if set(mode) & set("wax+") else "open"


def _always(kind: str) -> Callable[..., str]:
    return lambda *_, **__: kind


_CALLS: tuple[tuple[Any, str, Callable[..., str], int], ...] = (
    (os, "open", _of_open, 0),
    (io, "open", _of_io_open, 0),
    (builtins, "open", _of_io_open, 0),
    (os, "pread", _always("read"), 0),
    (os, "pwrite", _always("write"), 0),
    (os, "fsync", _always("sync"), 0),
    (os, "fdatasync", _always("sync"), 0),
    (os, "ftruncate", _always("truncate"), 0),
    (os, "replace", _always("rename"), 0),
    (os, "rename", _always("rename"), 0),
    (os, "unlink", _always("unlink"), 0),
    (os, "link", _always("link"), 0),
    (os, "mkdir", _always("mkdir"), 0),
    (os, "scandir", _always("list"), 0),
    (os, "listdir", _always("list"), 0),
    (os, "stat", _always("stat"), 0),
    (os, "fstat", _always("stat"), 0),
    (os, "statvfs", _always("statvfs"), 0),
    (os, "posix_fallocate", _always("allocate"), 0),
    (os, "copy_file_range", _always("copy"), 1),
    (fcntl, "ioctl", _always("clone"), 0),
    (os, "getxattr", _always("getxattr"), 0),
    (os, "setxattr", _always("setxattr"), 0),
    (os, "removexattr", _always("setxattr"), 0),
    (os, "utime", _always("utime"), 0),
    (os, "dup", _always("dup"), 0),
)
