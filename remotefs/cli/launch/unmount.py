"""Takes a mount down: by its own process where that answers, by fusermount3 where it does not."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from remotefs.control.find import find_mount
from remotefs.control.lock import holder_of
from remotefs.control.messages.base import DrainResult, Report
from remotefs.control.messages.mount import UMOUNT, UmountParams
from remotefs.control.mounts import is_dead, mount_at, mount_of, read_mounts, real_apart
from remotefs.errors import LocalError, RemotefsError, Unreachable, UsageError

# Past the drain itself: unmounting, closing the database, ending.
GRACE_S = 30.0
POLL_S = 0.05
COMMAND_TIMEOUT_S = 30.0


def unmount(path: Path, timeout_s: float, *, report: Report, notify: Callable[[str], None]) -> DrainResult:
    """Drain for at most `timeout_s`, unmount, and wait for the end of the mount's process.

    Raises UsageError when no remotefs is at `path`, LocalError when it cannot be unmounted.
    """
    try:
        mountpoint = real_apart(path)
    except Unreachable as error:
        # Links on its way are not to be resolved then; the table has it where there are none.
        return _without_its_process(path, path.absolute(), error, notify)
    _check_mount_at(path, mountpoint)
    if is_dead(mountpoint):
        detach(mountpoint, lazy=True)
        notify(f"{mountpoint} was a dead mount, whose process had ended: unmounted")
        return DrainResult(left=0)
    try:
        return _by_its_process(mountpoint, timeout_s, report)
    except (Unreachable, UsageError) as error:
        return _without_its_process(path, mountpoint, error, notify)


def _without_its_process(
    path: Path, mountpoint: Path, error: RemotefsError, notify: Callable[[str], None]
) -> DrainResult:
    _check_mount_at(path, mountpoint)
    notify(f"{error}; unmounting it with fusermount3")
    detach(mountpoint)
    return DrainResult(left=0)


def detach(mountpoint: Path, *, lazy: bool = False) -> None:
    """Take the mount out of the tree; `lazy` also when it is in use. Raises LocalError with the reason."""
    complaint = "fusermount3 is missing: install the package fuse3"
    for command in _detach_commands(lazy=lazy):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(  # noqa: S603 - fixed words and one absolute path, no shell
            [*command, str(mountpoint)], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
        if done.returncode == 0 or mount_at(mountpoint, read_mounts()) is None:
            return
        complaint = done.stderr.strip() or f"{command[0]} ended with {done.returncode}"
    raise LocalError(f"{mountpoint} cannot be unmounted: {complaint} (`fuser -vm {mountpoint}` shows who uses it)")


def _detach_commands(*, lazy: bool) -> list[list[str]]:
    by_user, by_root = ["fusermount3", "-u"], ["umount"]
    return [[*by_user, "-z"], [*by_root, "-l"]] if lazy else [by_user, by_root]


def _check_mount_at(path: Path, mountpoint: Path) -> None:
    mounts = read_mounts()
    entry = mount_at(mountpoint, mounts)
    if entry is None:
        outer = mount_of(mountpoint, mounts)
        hint = f"; the mount it lies in is {outer.mountpoint}" if outer and outer.is_remotefs else ""
        raise UsageError(f"nothing is mounted at {path}{hint}")
    if not entry.is_remotefs:
        raise UsageError(f"{path} is not a remotefs mount but {entry.fstype} ({entry.source})")


def _by_its_process(mountpoint: Path, timeout_s: float, report: Report) -> DrainResult:
    control = find_mount(mountpoint).control
    holder = holder_of(control.path.parent)
    result = control.call(UMOUNT, UmountParams(timeout_s=timeout_s), timeout_s=timeout_s + GRACE_S, report=report)
    deadline = time.monotonic() + GRACE_S
    while mount_at(mountpoint, read_mounts()) is not None or (holder and _is_running(holder.pid)):
        if time.monotonic() > deadline:
            raise LocalError(
                f"{mountpoint}: drained, but its process has not ended; its log: {control.path.parent}/log"
            )
        time.sleep(POLL_S)
    return result


def _is_running(pid: int) -> bool:
    """Return whether a process runs. Its lock goes before it does: a local server ends with it, and later."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Readable once it has ended, also while nobody has reaped it.
        return not select.select([descriptor], [], [], 0)[0]
    finally:
        os.close(descriptor)
