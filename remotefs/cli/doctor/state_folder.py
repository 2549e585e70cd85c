"""A state folder: owner, mode, file system, free space, the speed of its disk, and its database."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from remotefs.cli.console import human_size
from remotefs.cli.doctor.findings import Finding, ok, problem, warning
from remotefs.cli.launch.state_dirs import MEMORY_FSTYPES, REMOTE_FSTYPES
from remotefs.config import CacheConfig
from remotefs.control.apart import ask_apart
from remotefs.control.lock import holder_of
from remotefs.control.mounts import mount_of, read_mounts, real
from remotefs.errors import DeadlineExceeded, LocalError, StateUnusable
from remotefs.store.disk import Disk
from remotefs.store.glance import Glance, glance

DATABASE = "state.db"
# What the look at one folder may take, in seconds: the whole of it, and the database of it.
PATIENCE_S = 1.0
DATABASE_S = 0.05
# Each close of a file waits for a sync.
SLOW_SYNC_S = 0.2
_SYNCED = b"x" * 4096


class FolderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a state folder is like. `trouble` says why nothing else could be learned."""

    path: str
    trouble: str | None = None
    is_there: bool = True
    is_ours: bool = True
    mode: int = 0o700
    fstype: str = ""
    free: int = 0
    reserve: int = 0
    sync_s: float | None = None
    database: Glance | None = None
    damage: str | None = None
    holder: str | None = None


def look(path: Path, cache: CacheConfig) -> FolderFacts:
    """Return what a state folder is like; a disk that hangs is left behind after a second."""
    try:
        answer = ask_apart(lambda: msgspec.json.encode(_look(path, cache)), patience_s=PATIENCE_S)
    except DeadlineExceeded:
        return FolderFacts(path=str(path), trouble="its disk does not answer")
    except (OSError, LocalError) as error:
        return FolderFacts(path=str(path), trouble=str(error))
    return msgspec.json.decode(answer, type=FolderFacts)


def judge(facts: FolderFacts) -> Iterator[Finding]:
    """Yield what is to say of a state folder: pure."""
    if facts.trouble is not None:
        yield problem("state", f"{facts.path}: {facts.trouble}", "look at its disk (dmesg), or at who owns it")
        return
    if not facts.is_there:
        yield ok("state", f"{facts.path} is made by the first mount")
        return
    yield from _access(facts)
    yield from _disk(facts)
    yield from _database(facts)


def _access(facts: FolderFacts) -> Iterator[Finding]:
    if not facts.is_ours:
        yield problem("state", f"{facts.path} belongs to another user", "give --state-dir a folder of your own")
    elif facts.mode & 0o077:
        found = f"{facts.path} can be entered by others (mode {facts.mode:04o})"
        yield warning("state", found, f"chmod 700 {facts.path}; a mount does that too")
    else:
        user = f", in use by {facts.holder}" if facts.holder else ""
        yield ok("state", f"{facts.path}{user}")


def _disk(facts: FolderFacts) -> Iterator[Finding]:
    if facts.fstype in REMOTE_FSTYPES:
        found = f"{facts.path} lies on {facts.fstype}, where locks and the database cannot be trusted"
        yield problem("disk", found, "give --state-dir a folder on a disk of this machine")
    elif facts.fstype in MEMORY_FSTYPES:
        found = f"{facts.path} lies on {facts.fstype}: changes that are not uploaded are lost at a restart"
        yield warning("disk", found, "give --state-dir a folder on a disk")
    room = f"{human_size(facts.free)} free, {human_size(facts.reserve)} of it in reserve"
    if facts.free <= facts.reserve:
        yield problem("disk", f"{facts.path}: {room}: writing fails with ENOSPC", "make room on this disk")
    elif facts.free <= 2 * facts.reserve:
        yield warning("disk", f"{facts.path}: {room}: little is left", "make room, or `remotefs cache trim`")
    else:
        yield ok("disk", f"{facts.path}: {room}{_sync_text(facts)}")
    if facts.sync_s is not None and facts.sync_s > SLOW_SYNC_S:
        found = f"{facts.path}: a sync takes {facts.sync_s * 1000:.0f} ms, and each close waits for one"
        yield warning("disk", found, "is the disk busy, or failing? a state folder on an SSD helps")


def _sync_text(facts: FolderFacts) -> str:
    return f"; a sync takes {facts.sync_s * 1000:.1f} ms" if facts.sync_s is not None else ""


def _database(facts: FolderFacts) -> Iterator[Finding]:
    if facts.damage is not None:
        yield problem("database", facts.damage, _rescue())
        return
    found = facts.database
    if found is None:
        return
    place = f"{facts.path}/{DATABASE}"
    if found.form > found.newest_form:
        yield problem("database", f"{place} was written by a newer remotefs", "update remotefs, or take another folder")
    elif found.fault is not None:
        yield problem("database", f"{place}: {found.fault}", _rescue())
    else:
        size = human_size(found.bytes)
        part = "no fault found" if found.whole else "too large to be read whole here: `remotefs check` does"
        older = ", the next mount brings it to the newest form" if found.form < found.newest_form else ""
        yield ok("database", f"{place}: {size}, form {found.form}{older}; {part}")


def _rescue() -> str:
    from remotefs.store.database import RESCUE_ADVICE  # noqa: PLC0415 - loads trio, which takes a tenth of a second

    return RESCUE_ADVICE


def _look(path: Path, cache: CacheConfig) -> FolderFacts:
    """Return the facts; in a process that may be left behind."""
    if not path.exists():
        return FolderFacts(path=str(path), is_there=False)
    found = path.stat()
    entry = mount_of(real(path), read_mounts())
    disk = Disk(path, cache)
    is_ours = found.st_uid == os.geteuid()
    database, damage = _glance(path / DATABASE)
    return FolderFacts(
        path=str(path),
        is_ours=is_ours,
        mode=stat.S_IMODE(found.st_mode),
        fstype=entry.fstype if entry else "",
        free=disk.free(),
        reserve=disk.reserve,
        sync_s=_sync_s(path) if is_ours else None,
        database=database,
        damage=damage,
        holder=_holder(path),
    )


def _glance(path: Path) -> tuple[Glance | None, str | None]:
    if not path.exists():
        return None, None
    try:
        return glance(path, seconds=DATABASE_S), None
    except StateUnusable as error:
        return None, str(error)


def _sync_s(path: Path) -> float | None:
    """Return what a sync of a new page of a file without a name takes; None where none can be made."""
    try:
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(_SYNCED)
            file.flush()
            begun = time.monotonic()
            os.fdatasync(file.fileno())
            return time.monotonic() - begun
    except OSError:
        return None


def _holder(path: Path) -> str | None:
    """Return who uses the folder, where that process lives still."""
    holder = holder_of(path)
    if holder is None or not Path(f"/proc/{holder.pid}").exists():
        return None
    return f"process {holder.pid}, mounted at {holder.mountpoint}"
