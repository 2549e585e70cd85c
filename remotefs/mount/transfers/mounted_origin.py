"""The tree as `get` sees it through a running mount: system calls below its mountpoint, and its control socket."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import trio

from remotefs.control.find import FoundMount
from remotefs.control.messages.get import GENERATED, GeneratedParams
from remotefs.control.messages.paths import PATHS, PathsParams
from remotefs.errors import DeadlineExceeded, NotReadable
from remotefs.mount.copying import Looks
from remotefs.mount.transfers.records import ODD_KIND, Download, Kind, reason_of

_READABLE = "user.remotefs.readable"
_PIECE_BYTES = 1 << 20
_IDS_A_REQUEST = 400
_SHORT_S = 60.0
# A service that sends nothing: the mount answers at once then, and again when something has come (R7).
_SILENCE_S, _SILENCE_LOOK_S = 60.0, 1.0


class MountedOrigin:
    """Reads from a running mount; paths are those of the tree. One that the mount does not show is not found."""

    def __init__(self, mount: FoundMount) -> None:
        self._mount = mount
        self._control = mount.control

    async def find(self, path: str) -> list[Download]:
        """See Origin. Raises OSError."""
        return await trio.to_thread.run_sync(lambda: list(self._walk(path)), abandon_on_cancel=True)

    async def paths_of(self, file_ids: Sequence[str]) -> list[str | None]:
        """See Origin. Raises TransportError."""
        found: list[str | None] = []
        for first in range(0, len(file_ids), _IDS_A_REQUEST):
            params = PathsParams(tuple(file_ids[first : first + _IDS_A_REQUEST]))
            found += self._control.call(PATHS, params, timeout_s=_SHORT_S).paths
        return found

    async def generated(self, since_s: float | None) -> list[str]:
        """See Origin. Raises TransportError."""
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            params = GeneratedParams(since_s=since_s, after=after)
            page = self._control.call(GENERATED, params, timeout_s=_SHORT_S)
            found += page.paths
            after = page.after
        return found

    async def pieces(self, path: str) -> AsyncGenerator[bytes, None]:
        """See Origin. Raises OSError, DeadlineExceeded."""
        place = self._place(path)
        fd = await trio.to_thread.run_sync(_open, place, abandon_on_cancel=True)
        try:
            offset = 0
            while data := await _read(fd, offset):
                yield data
                offset += len(data)
        finally:
            os.close(fd)

    def _place(self, path: str) -> Path:
        place = self._mount.place_of(path)
        if place is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return place

    def _walk(self, path: str) -> Iterator[Download]:
        places: list[tuple[str, tuple[str, ...]]] = [(path, ())]
        while places:
            there, place = places.pop()
            entry = self._entry(there, place)
            if entry is None:
                continue
            yield entry
            if entry.kind is Kind.FOLDER:
                try:
                    names = sorted((inside.name for inside in self._place(there).iterdir()), reverse=True)
                except OSError as error:
                    yield Download(None, there, place, reason=reason_of(error))
                    continue
                places += [(f"{there}/{name}" if there else name, (*place, name)) for name in names]

    def _entry(self, path: str, place: tuple[str, ...]) -> Download | None:
        try:
            here = self._place(path)
            status = here.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return Download(None, path, place, reason=reason_of(error))
        kind = Kind.of(status.st_mode)
        if kind is None:
            return Download(None, path, place, reason=ODD_KIND)
        looks = Looks.of(status)
        return Download(kind, path, place, looks, os.fsencode(here.readlink()) if kind is Kind.LINK else b"")


def _open(place: Path) -> int:
    try:
        return os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except PermissionError as error:
        raise _unreadable(place) or error from None


def _unreadable(place: Path) -> NotReadable | None:
    """Return the error that says why the mount does not give the bytes (R2); None where it is another's refusal."""
    try:
        answer = os.getxattr(place, _READABLE).decode()
    except OSError:
        return None
    return NotReadable(answer.removeprefix("no: ")) if answer.startswith("no") else None


async def _read(fd: int, offset: int) -> bytes:
    """Return the next bytes; wait for a service that is silent for a while. Raises OSError, DeadlineExceeded."""
    until_s = trio.current_time() + _SILENCE_S
    while True:
        try:
            return await trio.to_thread.run_sync(os.pread, fd, _PIECE_BYTES, offset, abandon_on_cancel=True)
        except OSError as error:
            if error.errno != errno.ETIMEDOUT:
                raise
            if trio.current_time() >= until_s:
                raise DeadlineExceeded("the service sends nothing") from error
        await trio.sleep(_SILENCE_LOOK_S)
