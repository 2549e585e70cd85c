"""Finds the process that serves the mount of a path."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from remotefs.control.apart import ask_apart
from remotefs.control.client import ControlClient
from remotefs.control.mounts import DEAD, MountEntry, all_real_apart, mount_at, mount_of, read_mounts, real_apart
from remotefs.errors import BadName, DeadlineExceeded, LocalError, Unreachable, UsageError

# Answered by the mount's root with its socket's path; never listed.
CONTROL_XATTR = "user.remotefs.control"
# Answered by a root that is a folder of the tree with its path there.
SUBDIR_XATTR = "user.remotefs.subdir"
# A mount answers the look-ups of as many at once, well within the patience of `ask_apart`.
_PATHS_A_CHILD = 200


@dataclass(frozen=True)
class FoundMount:
    """A running mount, and the path asked about as the mount's commands take it: from the root of the tree.

    `root` is the path in the tree of the folder that the mount shows as its root.
    """

    mountpoint: Path
    control: ControlClient
    path: str
    root: str = ""

    @property
    def is_all(self) -> bool:
        """Return whether the path asked about is the root of the mount."""
        return self.path == self.root

    def place_of(self, path: str) -> Path | None:
        """Return where the mount shows a path of the tree; None for one outside of its root."""
        if path == self.root:
            return self.mountpoint
        start = f"{self.root}/" if self.root else ""
        return self.mountpoint / path.removeprefix(start) if path.startswith(start) else None


def find_mount(path: Path) -> FoundMount:
    """Return the remotefs mount that `path` lies in.

    Raises UsageError when it lies in none, LocalError when that mount has lost its process, Unreachable when it
    hangs, BadName for a path that is not UTF-8 (a mount has none).
    """
    absolute = real_apart(path)
    entry = _entry_of(path, absolute, read_mounts())
    return _found(entry, path, _inside(absolute, entry.mountpoint))


def find_mounts(paths: Sequence[Path]) -> list[FoundMount]:
    """Return what `find_mount` returns for each path, and ask each mount only once. Raises as that does."""
    mounts, roots, found = read_mounts(), dict[Path, FoundMount](), list[FoundMount]()
    for first in range(0, len(paths), _PATHS_A_CHILD):
        some = paths[first : first + _PATHS_A_CHILD]
        for path, absolute in zip(some, all_real_apart(some), strict=True):
            entry = _entry_of(path, absolute, mounts)
            if entry.mountpoint not in roots:
                roots[entry.mountpoint] = _found(entry, path, "")
            inside, root = _inside(absolute, entry.mountpoint), roots[entry.mountpoint]
            found.append(replace(root, path=_joined(root.root, inside)))
    return found


def find_mount_at(mountpoint: Path) -> FoundMount:
    """Return the mount that the kernel's table has at `mountpoint`, whose path is not looked up again.

    Raises LocalError, Unreachable as `find_mount` does.
    """
    entry = mount_at(mountpoint, read_mounts())
    if entry is None or not entry.is_remotefs:
        raise Unreachable(f"{mountpoint} was unmounted meanwhile")
    return _found(entry, mountpoint, "")


def _entry_of(path: Path, absolute: Path, mounts: Sequence[MountEntry]) -> MountEntry:
    entry = mount_of(absolute, mounts)
    if entry is None or not entry.is_fuse:
        raise UsageError(f"{path} is not in a remotefs mount")
    return entry


def _found(entry: MountEntry, path: Path, inside: str) -> FoundMount:
    """Return the mount of an entry, and where `inside`, a path below its mountpoint, lies in the tree."""
    socket, root = _asked(entry, path)
    return FoundMount(entry.mountpoint, ControlClient(socket), _joined(root, inside), root)


def _joined(root: str, inside: str) -> str:
    return "/".join(filter(None, (root, inside)))


def _look(mountpoint: Path) -> bytes:
    """Return the path of the control socket and that of the mount's root in the tree, with a zero byte between."""
    socket = os.getxattr(mountpoint, CONTROL_XATTR)
    try:
        return socket + b"\0" + os.getxattr(mountpoint, SUBDIR_XATTR)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return socket + b"\0"


def _asked(entry: MountEntry, path: Path) -> tuple[Path, str]:
    """Return where a mount's socket is, and the path of its root in the tree."""
    try:
        socket, _, root = ask_apart(lambda: _look(entry.mountpoint)).partition(b"\0")
        return Path(os.fsdecode(socket)), root.decode()
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
