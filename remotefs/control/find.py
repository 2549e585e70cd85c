"""Finds the process that serves the mount of a path."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from remotefs.control.apart import ask_apart
from remotefs.control.client import ControlClient
from remotefs.control.mounts import DEAD, MountEntry, all_real_apart, mount_at, mount_of, read_mounts, real_apart
from remotefs.errors import BadName, DeadlineExceeded, LocalError, Unreachable, UsageError

# Answered by the mount's root with its socket's path; never listed.
CONTROL_XATTR = "user.remotefs.control"
# A mount answers the look-ups of as many at once, well within the patience of `ask_apart`.
_PATHS_A_CHILD = 200


@dataclass(frozen=True)
class FoundMount:
    """A running mount, and the path asked about as the mount's commands take it."""

    mountpoint: Path
    control: ControlClient
    path: str


def find_mount(path: Path) -> FoundMount:
    """Return the remotefs mount that `path` lies in.

    Raises UsageError when it lies in none, LocalError when that mount has lost its process, Unreachable when it
    hangs, BadName for a path that is not UTF-8 (a mount has none).
    """
    absolute = real_apart(path)
    entry = _entry_of(path, absolute, read_mounts())
    return FoundMount(entry.mountpoint, ControlClient(_socket_of(entry, path)), _inside(absolute, entry.mountpoint))


def find_mounts(paths: Sequence[Path]) -> list[FoundMount]:
    """Return what `find_mount` returns for each path, and ask each mount only once. Raises as that does."""
    mounts, controls, found = read_mounts(), dict[Path, ControlClient](), list[FoundMount]()
    for first in range(0, len(paths), _PATHS_A_CHILD):
        some = paths[first : first + _PATHS_A_CHILD]
        for path, absolute in zip(some, all_real_apart(some), strict=True):
            entry = _entry_of(path, absolute, mounts)
            if entry.mountpoint not in controls:
                controls[entry.mountpoint] = ControlClient(_socket_of(entry, path))
            inside = _inside(absolute, entry.mountpoint)
            found.append(FoundMount(entry.mountpoint, controls[entry.mountpoint], inside))
    return found


def find_mount_at(mountpoint: Path) -> FoundMount:
    """Return the mount that the kernel's table has at `mountpoint`, whose path is not looked up again.

    Raises LocalError, Unreachable as `find_mount` does.
    """
    entry = mount_at(mountpoint, read_mounts())
    if entry is None or not entry.is_remotefs:
        raise Unreachable(f"{mountpoint} was unmounted meanwhile")
    return FoundMount(mountpoint, ControlClient(_socket_of(entry, mountpoint)), "")


def _entry_of(path: Path, absolute: Path, mounts: Sequence[MountEntry]) -> MountEntry:
    entry = mount_of(absolute, mounts)
    if entry is None or not entry.is_fuse:
        raise UsageError(f"{path} is not in a remotefs mount")
    return entry


def _socket_of(entry: MountEntry, path: Path) -> Path:
    try:
        return Path(os.fsdecode(ask_apart(lambda: os.getxattr(entry.mountpoint, CONTROL_XATTR))))
    except DeadlineExceeded as error:
        raise Unreachable(f"the mount at {entry.mountpoint} hangs: {error}; see its log, or end its process") from error
    except OSError as error:
        if error.errno in DEAD:
            raise LocalError(
                f"the mount at {entry.mountpoint} has lost its process; `remotefs umount {entry.mountpoint}` clears "
                "it, mounting again there does both"
            ) from error
        if error.errno in {errno.ENODATA, errno.EOPNOTSUPP}:
            raise UsageError(f"{path} is not in a remotefs mount but in {entry.fstype} ({entry.source})") from error
        raise LocalError(f"the mount at {entry.mountpoint} does not answer: {error.strerror}") from error


def _inside(path: Path, mountpoint: Path) -> str:
    inside = path.relative_to(mountpoint).as_posix()
    try:
        inside.encode()
    except UnicodeEncodeError as error:
        raise BadName(f"{os.fsencode(path)!r} is not UTF-8") from error
    return "" if inside == "." else inside
