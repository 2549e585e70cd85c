"""The tree as `put` sees it through a running mount: system calls below its mountpoint, and its control socket."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from remotefs.control.find import FoundMount
from remotefs.control.messages.base import Progress, Report, Warming
from remotefs.control.messages.put import SENT, THERE, SentFile, SentParams, ThereParams, ThereResult
from remotefs.data.content.file import digest_of
from remotefs.errors import AlreadyExists, InvalidArgument, IsADirectory, TransportError
from remotefs.mount.copying import Looks, copy_bytes
from remotefs.mount.transfers.records import Attributes, Kind, Upload
from remotefs.mount.transfers.uploads import Written
from remotefs.vfs.policy import PUT_PREFIX

T = TypeVar("T")
# A name that stays on this machine (N6): bytes that are not whole are never uploaded.
TEMPORARY = PUT_PREFIX + "{pid}-{number}"
# The numbers of a request fit into 64 KiB.
_INODES_A_REQUEST = 2000
# A wait for uploads may take any time; the mount reports its progress, and ends it when nothing moves.
_LONG_S = 7 * 86_400.0
_SHORT_S = 60.0


class MountedTarget:
    """Writes into a running mount; paths are those of the tree. Raises InvalidArgument for one outside of its root."""

    def __init__(self, mount: FoundMount) -> None:
        self._mount = mount
        self._control = mount.control
        self._numbers = itertools.count(1)

    async def kind(self, path: str) -> Kind | None:
        """See Target. A link to a folder is a link: it may lead out of the mount."""
        if f"{self._mount.root}/".startswith(f"{path}/"):
            return Kind.FOLDER
        return await _in_thread(lambda: _kind(self._place(path)))

    async def make_folder(self, path: str, mode: int) -> None:
        """See Target."""
        await _in_thread(lambda: _make_folder(self._place(path), mode))

    async def make_link(self, path: str, target: bytes) -> None:
        """See Target. Raises AlreadyExists for anything but a link."""
        place = self._place(path)
        await _in_thread(lambda: _make_link(place, target, self._temporary(place)))

    async def write(self, upload: Upload, attributes: Attributes) -> Written:
        """See Target. Raises OSError, IsADirectory, CorruptionError, TransportError."""
        # Not left behind: it removes what it has begun.
        return await trio.to_thread.run_sync(self._write, upload, attributes)

    async def set_times(self, path: str, looks: Looks) -> None:
        """See Target."""
        await _in_thread(lambda: os.utime(self._place(path), ns=(looks.atime_ns, looks.mtime_ns)))

    async def sent(self, inos: Sequence[int], stall_s: float, report: Report) -> list[SentFile]:
        """See Target. Files of which the mount does not tell are `pending`."""
        found: list[SentFile] = []
        while len(found) < len(inos):
            part = tuple(inos[len(found) : len(found) + _INODES_A_REQUEST])
            shifted = _shifted(report, len(found), len(inos)) if len(inos) > len(part) else report
            found += await _in_thread(partial(self._sent, SentParams(part, stall_s), shifted))
        return found

    def _sent(self, params: SentParams, report: Report) -> tuple[SentFile, ...]:
        try:
            return self._control.call(SENT, params, timeout_s=_LONG_S, report=report).files
        except TransportError as error:
            return tuple(SentFile("pending", reason=str(error)) for _ in params.inos)

    # -- in a thread

    def _write(self, upload: Upload, attributes: Attributes) -> Written:
        place = self._place(upload.path)
        kind = _kind(place)
        if kind is Kind.FOLDER:
            raise IsADirectory("a folder has that path")
        if kind is Kind.FILE:
            known = self._known(place, upload)
            if known.same:
                return Written(_dress(place, upload.looks, attributes), is_new=known.pending)
            if known.generated:  # a rename over it would delete an original (W8)
                return Written(_write_over(place, upload, attributes), is_new=True)
            attributes = {**dict(known.attributes), **attributes}
        temporary = self._temporary(place)
        try:
            ino = _write_new(temporary, upload, attributes)
            temporary.replace(place)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        return Written(ino, is_new=True)

    def _known(self, place: Path, upload: Upload) -> ThereResult:
        size = upload.looks.size
        digest = digest_of(upload.source) if place.stat().st_size == size else ""
        return self._control.call(THERE, ThereParams(path=upload.path, size=size, digest=digest), timeout_s=_SHORT_S)

    def _place(self, path: str) -> Path:
        place = self._mount.place_of(path)
        if place is None:
            raise InvalidArgument(
                f"{path or 'the root of the tree'} is not in {self._mount.root}, the only folder of the tree that the "
                f"mount at {self._mount.mountpoint} shows"
            )
        return place

    def _temporary(self, place: Path) -> Path:
        return place.with_name(TEMPORARY.format(pid=os.getpid(), number=next(self._numbers)))


async def _in_thread(work: Callable[[], T]) -> T:
    """Return the result of `work` from a thread, which is left behind when the command is interrupted."""
    return await trio.to_thread.run_sync(work, abandon_on_cancel=True)


def _kind(place: Path) -> Kind | None:
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return None
    kind = Kind.of(mode)
    if kind is None:
        raise AlreadyExists("something that is neither a file, a folder nor a link has that path")
    return kind


def _make_folder(place: Path, mode: int) -> None:
    place.mkdir()
    _set_mode(place, mode)


def _make_link(place: Path, target: bytes, temporary: Path) -> None:
    if os.path.lexists(place):
        if not place.is_symlink():
            raise AlreadyExists("it is there and is not a link")
        if os.fsencode(place.readlink()) == target:
            return
    temporary.symlink_to(os.fsdecode(target))
    temporary.replace(place)


def _write_new(place: Path, upload: Upload, attributes: Attributes) -> int:
    """Write a new file; return its inode number."""
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    ino = _fill(fd, upload, attributes)
    os.close(fd)
    return ino


def _write_over(place: Path, upload: Upload, attributes: Attributes) -> int:
    """Write a file in the place of its bytes; return its inode number."""
    fd = os.open(place, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW)
    ino = _fill(fd, upload, attributes)
    try:
        os.close(fd)
    except OSError as error:
        # A refusal of the service is told of when all has been waited for; the bytes are safe in the mount.
        if error.errno in {errno.ENOSPC, errno.EIO}:
            raise
    return ino


def _fill(fd: int, upload: Upload, attributes: Attributes) -> int:
    """Write the bytes of a file to `fd` and dress it; return its inode number. Closes `fd` where that fails."""
    try:
        source = os.open(upload.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        with open(source, "rb") as origin:  # noqa: PTH123 - a descriptor, for its flags
            copy_bytes(origin, fd, upload.looks.size, trio.from_thread.check_cancelled)
        return _dress(fd, upload.looks, attributes)
    except BaseException:
        with suppress(OSError):
            os.close(fd)
        raise


def _dress(place: Path | int, looks: Looks, attributes: Attributes) -> int:
    """Give a file its attributes, mode and times; return its inode number."""
    for name, value in attributes.items():
        try:
            os.setxattr(place, name, value)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise InvalidArgument(f"{name.decode()} cannot be {value.decode(errors='replace')!r}") from error
    _set_mode(place, looks.mode & 0o7777)
    os.utime(place, ns=(looks.atime_ns, looks.mtime_ns))
    return os.stat(place).st_ino  # noqa: PTH116 - see above


def _set_mode(place: Path | int, mode: int) -> None:
    # Refused where the mount shows modes in place of the stored ones: there it has none to take.
    with suppress(PermissionError):
        os.chmod(place, mode)  # noqa: PTH101 - a path or a descriptor


def _shifted(report: Report, before: int, files: int) -> Report:
    """Return a report of a part of the files that counts those `before` it."""

    def shifted(progress: Progress) -> None:
        if isinstance(progress, Warming):
            report(Warming(
                files_done=before + progress.files_done, files=files,
                bytes_done=progress.bytes_done, bytes=progress.bytes,
            ))  # fmt: skip

    return shifted
