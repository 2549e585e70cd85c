"""The kernel's limits for a mounted connection, which no option of libfuse sets.

By default the kernel has at most 12 requests in the background: 14 slow reads then hold up a read that could be
answered from memory (docs/adr/0002-kernel-facts.md). Only root can raise this limit, in fusectl. The same is true of
the kernel's readahead, in sysfs: a READ of 1 MiB costs hardly more than one of 128 KiB, so a sequential reader gets
several times the bytes for the same work. Without root both stay as they are, and the mount works with them.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from pathlib import Path

_log = logging.getLogger(__name__)
_FUSECTL = Path("/sys/fs/fuse/connections")
_BACKING = Path("/sys/class/bdi")


def raise_background_limit(mountpoint: Path, requests: int) -> bool:
    """Let the kernel have `requests` reads under way; return whether it does now. Blocks: call it from a thread."""
    # fusectl names the folder of a connection after the minor number of its device.
    connection = _FUSECTL / str(os.minor(mountpoint.stat().st_dev))
    if not connection.exists() and os.geteuid() == 0:
        subprocess.run(  # noqa: S603 - fixed words
            ["/bin/mount", "-t", "fusectl", "fusectl", str(_FUSECTL)], check=False, capture_output=True
        )
    try:
        for name in ("max_background", "congestion_threshold"):
            (connection / name).write_text(str(requests))
        return int((connection / "max_background").read_text()) >= requests
    except OSError as error:
        _log.info("cannot raise the kernel's limit of background requests: %s", error)
        return False


def abort(mountpoint: Path) -> None:
    """Make the kernel give up a connection: all that waits for it, in any thread, ends with an error.

    Asks the mount nothing, for nobody answers any more. Blocks: call it from a thread.
    """
    number = _number_of(mountpoint)
    if number is None:
        return
    try:
        (_FUSECTL / str(number) / "abort").write_text("1")
    except OSError as error:
        _log.warning("the connection to the kernel cannot be aborted: %s", error)


def _number_of(mountpoint: Path) -> int | None:
    """Return the number of the connection at a mountpoint, from the kernel's table of mounts; None if there is none."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        # 36 35 98:0 / /mnt rw - fuse.remotefs …; the last mount at a place is the one that is seen.
        fields = line.split()
        if re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]) == str(mountpoint):
            found = int(fields[2].partition(":")[2])
    return found


def raise_readahead(mountpoint: Path, size_bytes: int) -> bool:
    """Let the kernel read `size_bytes` ahead of a sequential reader; return whether it does now.

    Blocks: call it from a thread.
    """
    device = mountpoint.stat().st_dev
    setting = _BACKING / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
    try:
        setting.write_text(str(size_bytes >> 10))
    except OSError as error:
        _log.info("cannot raise the kernel's readahead: %s", error)
        return False
    return True
