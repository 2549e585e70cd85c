"""The kernel's table of mounts, as /proc/self/mountinfo shows it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from remotefs.control.apart import ask_apart
from remotefs.errors import DeadlineExceeded, Unreachable

MOUNTINFO = Path("/proc/self/mountinfo")
FSTYPE = "fuse.remotefs"
# What a FUSE mount answers when its process has gone, or was cut off through fusectl.
DEAD = frozenset({errno.ENOTCONN, errno.ECONNABORTED})


@dataclass(frozen=True)
class MountEntry:
    """One mount. `fstype` is such as `ext4` or `fuse.sshfs`, `source` what was mounted.

    `owner` is the user who mounted it, None where the kernel does not tell. `flags` are such as `nosuid` and `sync`:
    those of the file system, then those of this mount of it.
    """

    mountpoint: Path
    fstype: str
    source: str
    owner: int | None = field(default=None, compare=False)
    flags: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_fuse(self) -> bool:
        """Return whether a process of this machine serves it."""
        return self.fstype in {"fuse", "fuseblk"} or self.fstype.startswith("fuse.")

    @property
    def is_remotefs(self) -> bool:
        """Return whether it is a mount of remotefs."""
        return self.fstype == FSTYPE


def parse_mounts(text: str) -> tuple[MountEntry, ...]:
    """Return the entries of a mountinfo file in its order; on one mountpoint a later one covers an earlier one."""
    return tuple(_entry(line) for line in text.splitlines() if " - " in line)


def read_mounts() -> tuple[MountEntry, ...]:
    """Return the table as it is now."""
    return parse_mounts(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))


def mount_at(path: Path, mounts: Iterable[MountEntry]) -> MountEntry | None:
    """Return the mount exactly at `path` (absolute, without links); None when it is an ordinary folder."""
    return next((entry for entry in reversed(tuple(mounts)) if entry.mountpoint == path), None)


def mount_of(path: Path, mounts: Iterable[MountEntry]) -> MountEntry | None:
    """Return the mount that `path` (absolute, without links) lies in; None when the table has no root."""
    found: MountEntry | None = None
    for entry in mounts:
        deeper = found is None or len(entry.mountpoint.parts) >= len(found.mountpoint.parts)
        if deeper and path.is_relative_to(entry.mountpoint):
            found = entry
    return found


def is_dead(mountpoint: Path) -> bool:
    """Return whether the mount there has lost the process that served it.

    Asked by statvfs, which always goes to that process; the kernel would answer a stat from its cache. A mount that
    hangs is not dead. Call it from a process of one thread (`ask_apart`).
    """
    try:
        ask_apart(lambda: b"%d" % os.statvfs(mountpoint).f_flag)
    except DeadlineExceeded:
        return False
    except OSError as error:
        return error.errno in DEAD
    return False


def real_apart(path: Path) -> Path:
    """Return `path` as `real` does, from a process of one thread. Raises Unreachable when a mount on its way hangs."""
    try:
        return Path(os.fsdecode(ask_apart(lambda: os.fsencode(real(path)))))
    except DeadlineExceeded as error:
        raise Unreachable(f"{path}: the mount that it lies in hangs: {error}") from error


def all_real_apart(paths: Sequence[Path]) -> list[Path]:
    """Return each path as `real` does, with one child process for all of them. Raises Unreachable as above."""
    try:
        # No path has the byte 0 in it.
        answer = ask_apart(lambda: b"\0".join(os.fsencode(real(path)) for path in paths))
    except DeadlineExceeded as error:
        raise Unreachable(f"{paths[0]} and others: a mount that they lie in hangs: {error}") from error
    return [Path(os.fsdecode(path)) for path in answer.split(b"\0")]


def real(path: Path) -> Path:
    """Return `path` absolute and without links; below a dead mount the rest is taken as written."""
    return Path(os.path.realpath(path))


def _entry(line: str) -> MountEntry:
    left, _, right = line.partition(" - ")
    fstype, source, *options = right.split(" ")
    _id, _parent, _device, _root, mountpoint, flags, *_ = left.split(" ")
    owner = re.search(r"(?:^|,)user_id=(\d+)", " ".join(options))
    user = int(owner[1]) if owner else None
    all_flags = (*",".join(options).split(","), *flags.split(","))
    return MountEntry(Path(_unescape(mountpoint)), fstype, _unescape(source), user, all_flags)


def _unescape(field: str) -> str:
    """Replace the three octal digits that the kernel writes for space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
