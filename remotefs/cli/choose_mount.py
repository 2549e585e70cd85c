"""Finds the mount that a command without a path is for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remotefs.control.find import FoundMount, find_mount, find_mount_at
from remotefs.control.mounts import read_mounts
from remotefs.errors import UsageError

NOTHING_MOUNTED = "nothing is mounted: there is no remotefs mount on this machine"
MountOption = Annotated[
    Path | None, typer.Option("--mount", metavar="MOUNTPOINT", help="The mount, where there are several.")
]


def all_mounts() -> list[Path]:
    """Return where remotefs is mounted on this machine."""
    return list(dict.fromkeys(entry.mountpoint for entry in read_mounts() if entry.is_remotefs))


def chosen_mount(path: Path | None, how: str = "with --mount") -> FoundMount:
    """Return the mount of `path`, or the only one on this machine; `how` says how the command takes a choice.

    Raises UsageError, and as find_mount does.
    """
    if path is not None:
        return find_mount(path)
    mounts = all_mounts()
    if not mounts:
        raise UsageError(NOTHING_MOUNTED)
    if len(mounts) > 1:
        raise UsageError(f"there are {len(mounts)} remotefs mounts: choose one {how} ({', '.join(map(str, mounts))})")
    return find_mount_at(mounts[0])
