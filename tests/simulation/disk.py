"""The disk of a simulated machine: a folder whose files forget, when the power goes, what was not synced.

The files are real ones, so that the product and SQLite work on them as ever. Beside them the disk knows what of each
file and of each folder was synced: `left` writes what a power cut would leave. It may be told to fail one call.

SQLite syncs by itself, unseen: the names of the database and its log, the head of a log that begins anew, and both
files around a checkpoint. That much is taken from its documents (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import logging
import os
import random
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.calls_boundary import DATABASE, DISK, TROUBLES, Boundary

_BLOCK = 512
# The head of SQLite's log, which is synced when the log begins anew.
_HEAD_BYTES = 32
_LOG = "state.db-wal"
_DATABASE = "state.db"
_is_own_work: ContextVar[bool] = ContextVar("is_own_work", default=False)
# SQLite's shared memory, and what holds space: neither has anything to keep.
_WORTHLESS = frozenset({"state.db-shm", "reserve", "control.sock"})


@contextmanager
def own_work() -> Iterator[None]:
    """Let the calls of a block be none of the product's: none is counted, and none fails."""
    mark = _is_own_work.set(True)
    try:
        yield
    finally:
        _is_own_work.reset(mark)


class Persistence(StrEnum):
    """What reached the disk beyond what was synced; a file system may do any of these."""

    # The process alone is gone.
    ALL = "all"
    NOTHING = "nothing"
    # Names, and lengths, of files whose bytes did not come: they read as zeros.
    NAMES = "names"
    # Bytes, of files that are found only under the names that they had.
    BYTES = "bytes"
    # This file and not that one.
    SOME = "some"
    # This block and not that one: writes are torn, and later ones come without earlier ones.
    TORN = "torn"


@dataclass
class Kept:
    """What is on the disk for sure of one file or folder."""

    is_folder: bool
    data: bytes = b""
    names: dict[str, int] = field(default_factory=dict)
    labels: dict[str, bytes] = field(default_factory=dict)
    changed_ns: int = 0


class Disk:
    """One folder and what of it is synced; all that is there when it is made is."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # By file what a sync failed to write.
        self._lost: dict[int, bytes] = {}
        self.sync_all()

    def sync_all(self) -> None:
        """Take all that is there as synced."""
        self._kept: dict[int, Kept] = {}
        for folder, folders, files in os.walk(self.root):
            for path in (folder, *(os.path.join(folder, name) for name in (*folders, *files))):
                self._keep(path)

    def inherit(self, before: Disk) -> None:
        """Take over what was synced of the folder that this one is a copy of: after a kill the rest is in memory yet."""
        twins = {before.root: self.root} | {
            path: self.root / path.relative_to(before.root) for path in before.root.rglob("*")
        }
        numbers = {os.stat(old).st_ino: os.stat(new).st_ino for old, new in twins.items() if new.exists()}
        kept = {new: before._kept[old] for old, new in numbers.items() if old in before._kept}
        # Names of files that are gone by now may come back: those keep their numbers, which no file of this folder has.
        self._kept = {old: one for old, one in before._kept.items() if old not in numbers} | {
            number: Kept(
                one.is_folder,
                one.data,
                {n: numbers.get(i, i) for n, i in one.names.items()},
                one.labels,
                one.changed_ns,
            )
            for number, one in kept.items()
        }

    def synced(self, path: str) -> None:
        """Note that a file or a folder was synced."""
        if path == str(self.root) or path.startswith(f"{self.root}/"):
            self._keep(path)

    def failed(self, path: str) -> None:
        """Note that a sync failed: what was to be written then is lost, though a later sync succeeds (fsync(2))."""
        with own_work():
            if path.startswith(f"{self.root}/") and os.path.isfile(path):
                self._lost[os.stat(path).st_ino] = Path(path).read_bytes()

    def _but_lost(self, ino: int, data: bytes) -> bytes:
        """Return what a sync brings to the disk: not the blocks that an earlier one failed to write."""
        lost = self._lost.get(ino)
        if lost is None:
            return data
        old = self._kept[ino].data if ino in self._kept else b""
        blocks = [data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)]
        for number, block in enumerate(blocks):
            at = number * _BLOCK
            if block == lost[at : at + _BLOCK]:
                blocks[number] = old[at : at + _BLOCK].ljust(len(block), b"\0")[: len(block)]
        return b"".join(blocks)

    def _keep(self, path: str) -> None:
        with own_work():
            self._keep_now(path)

    def _keep_now(self, path: str) -> None:
        if os.path.basename(path) in _WORTHLESS:
            return
        try:
            status = os.stat(path)
        except FileNotFoundError:  # unlinked while open
            return
        kept = Kept(stat.S_ISDIR(status.st_mode), changed_ns=status.st_mtime_ns)
        if kept.is_folder:
            with os.scandir(path) as entries:
                kept.names = {entry.name: entry.inode() for entry in entries}
        else:
            kept.data, kept.labels = self._but_lost(status.st_ino, Path(path).read_bytes()), _labels(path)
        self._kept[status.st_ino] = kept

    # -- what SQLite syncs

    def checkpointed(self, chance: random.Random) -> None:
        """Note that SQLite has copied the log into the database; the last of it may still be on its way."""
        self._keep(str(self.root / _LOG))
        if chance.random() < 0.5:
            self._keep(str(self.root / _DATABASE))

    def log_began(self) -> None:
        """Note that SQLite has copied all of the log and begins it anew."""
        self._keep(str(self.root / _DATABASE))
        self._keep(str(self.root / _LOG))

    # -- after the end

    def left(self, target: Path, persistence: Persistence, chance: random.Random) -> None:
        """Write what is left after the process, or the power, is gone to `target`, which becomes a folder."""
        with own_work():
            self._write_what_is_left(target, persistence, chance)

    def _write_what_is_left(self, target: Path, persistence: Persistence, chance: random.Random) -> None:
        if persistence is Persistence.ALL:
            shutil.copytree(self.root, target, ignore=lambda _, names: _WORTHLESS & set(names), copy_function=_copy)
            return
        # Of all folders or of none: a file that was moved is never gone from both of its places.
        mixed = persistence in {Persistence.SOME, Persistence.TORN}
        names = persistence is Persistence.NAMES or (mixed and chance.random() < 0.5)
        here = {os.stat(path).st_ino: path for path in map(str, self.root.rglob("*"))}
        self._write_folder(
            os.stat(self.root).st_ino, self.root, target, _Remains(self, persistence, names, chance, here)
        )

    def _write_folder(self, ino: int, place: Path | None, target: Path, remains: _Remains) -> None:
        target.mkdir(mode=0o700)
        for name, child in sorted(self._names(ino, place, remains).items()):
            path = remains.here.get(child)
            kept = self._kept.get(child)
            if name in _WORTHLESS or (path is None and kept is None):
                continue
            if (kept is not None and kept.is_folder) or (path is not None and os.path.isdir(path)):
                self._write_folder(child, Path(path) if path else None, target / name, remains)
            elif child in remains.written:
                os.link(remains.written[child], target / name)
            else:
                remains.written[child] = target / name
                remains.write(name, kept, path, target / name)

    def _names(self, ino: int, place: Path | None, remains: _Remains) -> dict[str, int]:
        kept = self._kept[ino].names if ino in self._kept else {}
        if place is None:
            return kept
        with os.scandir(place) as entries:
            now = {entry.name: entry.inode() for entry in entries}
        # A database and its log keep their names from their first commit on.
        return now if remains.names else kept | {name: now[name] for name in (_DATABASE, _LOG) if name in now}


@dataclass
class _Remains:
    """How one power cut decides about each file."""

    disk: Disk
    persistence: Persistence
    names: bool
    chance: random.Random
    # The path of each file that still has a name.
    here: dict[int, str]
    written: dict[int, Path] = field(default_factory=dict)

    def write(self, name: str, kept: Kept | None, path: str | None, target: Path) -> None:
        """Write what is left of one file."""
        old = kept.data if kept is not None else b""
        new = Path(path).read_bytes() if path is not None else old
        data = self._data(old, new)
        if name == _LOG:
            # Synced when the log began anew, whatever else was.
            data = new[:_HEAD_BYTES] + data[_HEAD_BYTES:]
        target.touch(mode=0o600)
        target.write_bytes(data)
        for key, value in (_labels(path) if path is not None else kept.labels if kept is not None else {}).items():
            os.setxattr(target, key, value)
        changed_ns = os.stat(path).st_mtime_ns if path is not None and data == new else kept.changed_ns if kept else 0
        os.utime(target, ns=(changed_ns, changed_ns))

    def _data(self, old: bytes, new: bytes) -> bytes:
        match self.persistence:
            case Persistence.BYTES:
                return new
            case Persistence.SOME if self.chance.random() < 0.5:
                return new
            case Persistence.TORN:
                return self._torn(old, new)
            case _:
                return old[: len(new)].ljust(len(new), b"\0") if self.names else old

    def _torn(self, old: bytes, new: bytes) -> bytes:
        length = len(self.chance.choice((old, new)))
        blocks = []
        for at in range(0, length, _BLOCK):
            sides = [data[at : at + _BLOCK].ljust(_BLOCK, b"\0") for data in (old, new)]
            blocks.append(self.chance.choice(sides))
        return b"".join(blocks)[:length]


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
    for key, value in _labels(source).items():
        os.setxattr(target, key, value)
    status = os.stat(source)
    os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def _labels(path: str) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


class Ailing(Boundary):
    """The calls of the product about the disks of machines below a folder, of which one is to fail; not the service's."""

    def __init__(self, folder: Path, disks: Callable[[], Iterable[Path]]) -> None:
        super().__init__(folder)
        self._disks = disks
        self._left = 0
        self._wish = ""

    def fail(self, after_calls: int, wish: str) -> None:
        """Let the call that comes after so many others of its kind fail; `wish` is `kind trouble`."""
        self._left, self._wish, self._is_watching = after_calls, wish, True

    @property
    def is_armed(self) -> bool:
        """Return whether a call is still to fail."""
        return self._is_watching

    def _is_ours(self, subject: object) -> bool:
        return not _is_own_work.get() and super()._is_ours(subject)

    def _ours(self) -> Iterable[Path]:
        return self._disks()

    def trouble(self, kind: str) -> str | None:
        """Return what goes wrong with a call."""
        wanted, _, trouble = self._wish.partition(" ")
        if not self._is_watching or kind != wanted or trouble not in TROUBLES.get(kind, ()):
            return None
        self._left -= 1
        if self._left >= 0:
            return None
        self._is_watching = False
        self.hits += 1
        return trouble


def wishes() -> list[str]:
    """Return all that may be asked of `Ailing.fail`."""
    harmless = {"dup", "statvfs", "getxattr", "vacuum", "connect"}
    return [
        f"{kind} {trouble}" for kind, all_of in (DISK | DATABASE).items() if kind not in harmless for trouble in all_of
    ]


class Platter:
    """Watches the syncs and the writes of this process, for all disks; what changes gets the time of `now_ns`."""

    def __init__(self, now_ns: Callable[[], int], patch: pytest.MonkeyPatch) -> None:
        self.disks: list[Disk] = []
        self._now_ns = now_ns
        for call in ("fsync", "fdatasync"):
            patch.setattr(os, call, self._syncing(getattr(os, call)))
        for call in ("pwrite", "ftruncate"):
            patch.setattr(os, call, self._changing(getattr(os, call)))

    def _syncing(self, call: Callable[[int], None]) -> Callable[[Any], None]:
        def syncing(fd: Any) -> None:
            path = os.readlink(f"/proc/self/fd/{fd if isinstance(fd, int) else fd.fileno()}")
            try:
                call(fd)
            except OSError:
                for disk in self.disks:
                    disk.failed(path)
                raise
            for disk in self.disks:
                disk.synced(path)

        return syncing

    def _changing(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def changing(fd: int, *args: Any) -> Any:
            result = call(fd, *args)
            now_ns = self._now_ns()
            os.utime(fd, ns=(now_ns, now_ns))
            return result

        return changing


class Points(logging.Handler):
    """Calls `reached` with each crash point of the product, in the middle of what it does."""

    def __init__(self, reached: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._reached = reached

    def emit(self, record: logging.LogRecord) -> None:
        self._reached(str(record.args[0]) if isinstance(record.args, tuple) else record.getMessage())

    def __enter__(self) -> Points:
        log = logging.getLogger("remotefs.crashpoints")
        self._level, self._propagates = log.level, log.propagate
        log.setLevel(logging.DEBUG)
        log.propagate = False
        log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("remotefs.crashpoints")
        log.removeHandler(self)
        log.setLevel(self._level)
        log.propagate = self._propagates
