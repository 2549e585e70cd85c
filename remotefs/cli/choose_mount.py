"""Which mount is meant where no path says it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remotefs.control.find import FoundMount, find_mount
from remotefs.control.mounts import read_mounts
from remotefs.errors import UsageError

MountOption = Annotated[
    Path | None, typer.Option("--mount", metavar="MOUNTPOINT", help="Which mount, where there are several.")
]


def all_mounts() -> list[Path]:
    """Where remotefs is mounted on this machine."""
    return list(dict.fromkeys(entry.mountpoint for entry in read_mounts() if entry.is_remotefs))


def chosen_mount(path: Path | None) -> FoundMount:
    """The mount of `path`, or the only one there is. Raises UsageError, and as find_mount does."""
    if path is not None:
        return find_mount(path)
    mounts = all_mounts()
    if len(mounts) != 1:
        raise UsageError(f"{len(mounts)} remotefs mounts are on this machine: say which with --mount")
    return find_mount(mounts[0])
