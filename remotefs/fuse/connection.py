"""The kernel's side of a mounted connection: its limits, which libfuse's options do not reach.

With the default of 12 requests in the background, 14 slow reads hold up a read that could be answered from memory
(docs/adr/0002-kernel-facts.md). The limit can be raised by root only, in fusectl. So can the kernel's readahead, in
sysfs: a READ of 1 MiB costs hardly more than one of 128 KiB, so a sequential reader gets several times the bytes for
the same work.
"""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

_log = logging.getLogger(__name__)
_FUSECTL = Path("/sys/fs/fuse/connections")
_BACKING = Path("/sys/class/bdi")


def raise_background_limit(mountpoint: Path, requests: int) -> bool:
    """Let the kernel have so many reads under way; whether it does now. Blocks: call it from a thread."""
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
        _log.info("the kernel's limit of reads under way stays as it is: %s", error)
        return False


def raise_readahead(mountpoint: Path, size_bytes: int) -> bool:
    """Let the kernel read so far ahead of a sequential reader; whether it does now. Blocks: call it from a thread."""
    device = mountpoint.stat().st_dev
    setting = _BACKING / f"{os.major(device)}:{os.minor(device)}" / "read_ahead_kb"
    try:
        setting.write_text(str(size_bytes >> 10))
    except OSError as error:
        _log.info("the kernel's readahead stays as it is: %s", error)
        return False
    return True
