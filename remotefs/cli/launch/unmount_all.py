"""Takes all mounts of a user down, each by a process of its own: one that hangs holds up none of the others (H3)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.control.mounts import MountEntry

_PREFIX = "remotefs: "


def mounts_of(uid: int, mounts: Iterable[MountEntry]) -> list[Path]:
    """Return where a user has mounted remotefs, for root where anybody has; stacked mounts once each."""
    return [entry.mountpoint for entry in mounts if entry.is_remotefs and uid in (0, entry.owner)]


def in_waves(mountpoints: Sequence[Path]) -> list[list[Path]]:
    """Return the mountpoints in the order to unmount them: a mount is busy while another lies in it or on it."""
    waves: list[list[Path]] = []
    for number, path in enumerate(mountpoints):
        # Later mounts at the same place cover this one.
        inner = [other for other in mountpoints[number + 1 :] if other == path]
        inner += [other for other in mountpoints if other != path and other.is_relative_to(path)]
        depth = len(inner)
        waves += [[] for _ in range(depth + 1 - len(waves))]
        waves[depth].append(path)
    return [wave for wave in waves if wave]


def unmount_all(mountpoints: Sequence[Path], timeout_s: float, notify: Callable[[str], None]) -> int:
    """Unmount all, those that are independent at the same time; report each. Return the worst exit status."""
    return worst([status for wave in in_waves(mountpoints) for status in _unmount_together(wave, timeout_s, notify)])


def worst(statuses: Iterable[int]) -> int:
    """Return the exit status that tells the most: a failure before changes that are left, those before success."""
    return max(statuses, key=lambda status: (status not in (0, EXIT_WORK_LEFT), status), default=0)


def _unmount_together(wave: Sequence[Path], timeout_s: float, notify: Callable[[str], None]) -> list[int]:
    processes = [(path, _start(path, timeout_s)) for path in wave]
    return [_result(path, process, notify) for path, process in processes]


def _start(path: Path, timeout_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter, module and words
        [sys.executable, "-m", "remotefs", "umount", "--timeout", f"{timeout_s}s", "--", str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def _result(path: Path, process: subprocess.Popen[str], notify: Callable[[str], None]) -> int:
    _, said = process.communicate()
    for line in filter(None, said.splitlines()):
        text = line.removeprefix(_PREFIX)
        notify(text if text.startswith(str(path)) else f"{path}: {text}")
    if process.returncode == 0:
        notify(f"{path}: unmounted")
    return process.returncode
