"""Finds the mount that a command without a path is for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import click
import typer

from remotefs.control.find import FoundMount, find_mount, find_mount_at
from remotefs.control.mounts import read_mounts
from remotefs.errors import UsageError

NOTHING_MOUNTED = "nothing is mounted: there is no remotefs mount on this machine"


class _Untouched(click.Path):
    """A path that is not looked at while the command line is read.

    click asks for the status of each path, and would wait for ever for that of a mount that hangs (H3).
    """

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> Path:
        """Return the path as it is written."""
        return Path(value)


# For the `click_type` of an argument that lies in a mount.
IN_A_MOUNT = _Untouched()
MountOption = Annotated[
    Path | None,
    typer.Option("--mount", click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="The mount, where there are several."),
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
