"""Changes the kernel's flags of a running mount: `-o remount,ro`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from remotefs.cli.launch.mount_options import REMOUNT_FLAGS, last_of_pairs
from remotefs.control.mounts import mount_at, read_mounts, real
from remotefs.errors import LocalError, UsageError


def remount(mountpoint: Path, flags: Sequence[str]) -> None:
    """Set the flags of the mount at `mountpoint`; those that are not named stay. Needs root, as any remount does.

    Raises UsageError if no mount of remotefs is there, LocalError if the kernel refuses: EBUSY for `ro` while files are
    open for writing.
    """
    entry = mount_at(real(mountpoint), read_mounts())
    if entry is None or not entry.is_remotefs:
        raise UsageError(f"-o remount: {mountpoint} is not a mount of remotefs")
    # With a line in fstab mount(8) would clear the flags that neither the line nor the caller names, `nosuid` too.
    # It is writable unless the file system or this mount of it is read-only.
    kept = ["rw", *(flag for flag in entry.flags if flag in REMOUNT_FLAGS and flag != "rw")]
    # -i: without a helper for the type of the file system. One would start a second mount.
    command = ["/bin/mount", "-i", "-o", ",".join(["remount", *last_of_pairs([*kept, *flags])]), str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- checked flags
    if done.returncode:
        raise LocalError(f"{mountpoint} cannot be remounted: {done.stderr.strip()}")
