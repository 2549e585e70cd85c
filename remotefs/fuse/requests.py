"""The requests of the kernel: counts and times by operation, and a line for each while the access log is on."""

from __future__ import annotations

import errno
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from contextvars import Token
from dataclasses import dataclass

import msgspec

from remotefs.counters import Timings
from remotefs.errors import RemotefsError
from remotefs.vfs.handles import Handles
from remotefs.waits import Cause, Waits, begin_listening, end_listening

# The operations whose first argument is not an inode: it is a handle of a file or of a directory, or there is none.
_OF_FILES = frozenset({"read", "write", "flush", "fsync", "release"})
_OF_FOLDERS = frozenset({"readdir", "releasedir", "fsyncdir"})
_OF_NOTHING = frozenset({"statfs"})
# Those whose second argument is a name in the folder that is the first.
_OF_NAMES = frozenset({"lookup", "mknod", "mkdir", "symlink", "unlink", "rmdir", "rename", "create"})


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One answered request. `at` is in ns since the epoch; `path` as the user sees it, `/` being the mountpoint.

    `target` is the new name of a rename or a link; `size` the bytes that were read or written, `waited` the seconds of
    `seconds` that it waited for something, by cause; `error` the name of the errno.
    """

    at: int
    operation: str
    path: str
    target: str | None
    offset: int | None
    size: int | None
    seconds: float
    error: str | None
    waited: dict[Cause, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A request that is being answered, for its line."""

    operation: str
    at: int
    path: str
    target: str | None
    offset: int | None
    waits: Waits
    token: Token[Waits | None]


class Requests:
    """Counts all requests; while `write` is set, hands it a record of each.

    `path_of` returns the path of an inode, None where it has no name. The line is made in the loop, because only there
    the path is that of the moment; `write` must not wait for a disk.
    """

    def __init__(self, handles: Handles, path_of: Callable[[int], str | None] = lambda _: None) -> None:
        self._handles = handles
        self._path_of = path_of
        self.timings: defaultdict[str, Timings] = defaultdict(Timings)
        self.write: Callable[[RequestRecord], None] | None = None

    def begin(self, operation: str, arguments: tuple[object, ...]) -> Line:
        """Return the line of a request that comes in; its waits are noted from now on. `end` has to follow."""
        path, target = self._paths(operation, arguments)
        offset = arguments[1] if operation in {"read", "write"} else None
        waits, token = begin_listening()
        at = time.time_ns()
        return Line(operation, at, path, target, offset if isinstance(offset, int) else None, waits, token)

    def end(self, line: Line, answer: object, number: int, seconds: float) -> None:
        """Write the line of a request that is answered, with an errno where `number` is not 0."""
        end_listening(line.token)
        if self.write is None:
            return
        record = RequestRecord(
            at=line.at,
            operation=line.operation,
            path=line.path,
            target=line.target,
            offset=line.offset,
            size=_size(line.operation, answer),
            seconds=seconds,
            error=_error(line.operation, answer, number),
            waited=line.waits.seconds,
        )
        self.write(record)

    def _paths(self, operation: str, arguments: tuple[object, ...]) -> tuple[str, str | None]:
        if operation in _OF_NOTHING:
            return "/", None
        first, *others = arguments
        assert isinstance(first, int)
        if operation in _OF_NAMES:
            target = self._named(others[1], others[2]) if operation == "rename" else None
            return self._named(first, others[0]), target
        if operation == "link":
            return self._path(first), self._named(others[0], others[1])
        return self._path(self._inode(operation, first)), None

    def _inode(self, operation: str, first: int) -> int:
        with suppress(RemotefsError):  # a handle that is not known: the request fails
            if operation in _OF_FILES:
                return self._handles.file(first).ino
            if operation in _OF_FOLDERS:
                return self._handles.directory(first)
        return first

    def _path(self, ino: int) -> str:
        with suppress(RemotefsError):
            path = self._path_of(ino)
            if path is not None:
                return "/" + path
        return f"inode {ino}"

    def _named(self, parent: object, name: object) -> str:
        assert isinstance(parent, int)
        assert isinstance(name, bytes)
        return f"{self._path(parent).rstrip('/')}/{name.decode(errors='backslashreplace')}"


def _size(operation: str, answer: object) -> int | None:
    """Return the length of a reply of bytes, and the number that the reply to a write is."""
    if isinstance(answer, bytes):
        return len(answer)
    return answer if operation == "write" and isinstance(answer, int) else None


def _error(operation: str, answer: object, number: int) -> str | None:
    if operation == "lookup" and getattr(answer, "st_ino", None) == 0:
        # The kernel caches the answer that a name is missing. (pyfuse3 may not be here: `put` works without it.)
        number = errno.ENOENT
    return errno.errorcode.get(number, str(number)) if number else None
