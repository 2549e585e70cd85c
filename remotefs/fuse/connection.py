"""The kernel's limits for a mounted connection, which no option of libfuse sets.

By default the kernel has at most 12 requests in the background: 14 slow reads then hold up a read that could be
answered from memory (docs/adr/0002-kernel-facts.md). Only root can raise this limit, in fusectl. The same is true of
the kernel's readahead, in sysfs: a READ of 1 MiB costs hardly more than one of 128 KiB, so a sequential reader gets
several times the bytes for the same work. Without root both stay as they are, and the mount works with them.
"""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

_log = logging.getLogger(__name__)
_FUSECTL = Path("/sys/fs/fuse/connections")
_BACKING = Path("/sys/class/bdi")


def number_of(mountpoint: Path) -> int:
    """Return the number of a mount's connection, which must be answering. Blocks: call it from a thread."""
    # fusectl names the folder of a connection after the minor number of its device.
    return os.minor(mountpoint.stat().st_dev)


def raise_background_limit(number: int, requests: int) -> bool:
    """Let the kernel have `requests` reads of a connection under way; return whether it does now.

    Blocks: call it from a thread.
    """
    connection = _FUSECTL / str(number)
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


def abort(number: int) -> None:
    """Make the kernel give up the connection of that number: all that waits for it, in any thread, ends with an error.

    The number is another mount's once this one is gone. So call it only while a thread waits in this one's connection,
    which keeps it. Blocks: call it from a thread.
    """
    try:
        (_FUSECTL / str(number) / "abort").write_text("1")
    except OSError as error:
        _log.warning("the connection to the kernel cannot be aborted: %s", error)


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
