"""Finds the mount that a command without a path is for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import click
import msgspec
import typer

from remotefs.control.all_mounts import Finders, ask_all
from remotefs.control.find import FoundMount, find_mount, find_mount_at
from remotefs.control.messages.base import Endpoint
from remotefs.control.mounts import read_mounts
from remotefs.errors import RemotefsError, UsageError

P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)

NOTHING_MOUNTED = "nothing is mounted: there is no remotefs mount on this machine"


class _Untouched(click.Path):
    """A path that is not looked at while the command line is read.

    click asks for the status of each path, and would wait for ever for that of a mount that hangs (H3). An empty one is
    refused: a variable of a script that is not set would stand for the current folder.
    """

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,  # noqa: ARG002 - click's signature
        ctx: click.Context | None,  # noqa: ARG002 - click's signature
    ) -> Path:
        """Return the path as it is written. Raises BadParameter where it is empty."""
        if not os.fspath(value):
            raise typer.BadParameter("'' is not valid: give a path that is not empty")
        return Path(value)


# For the `click_type` of an argument that lies in a mount.
IN_A_MOUNT = _Untouched()
# For that of any other path.
A_PATH = IN_A_MOUNT
MountOption = Annotated[
    Path | None,
    typer.Option("--mount", click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="The mount, where there are several."),
]

PathArguments = Annotated[
    list[Path], typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="Files or folders of a mount.")
]

MountArgument = Annotated[
    Path | None,
    typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="The mount, where there are several."),
]


def all_mounts() -> list[Path]:
    """Return where remotefs is mounted on this machine."""
    return list(dict.fromkeys(entry.mountpoint for entry in read_mounts() if entry.is_remotefs))


def finders_of(paths: Sequence[Path] | None) -> Finders:
    """Return how to find the mount of each path, or every mount of this machine.

    Raises UsageError where nothing is mounted.
    """
    finders: Finders = {path: partial(find_mount, path) for path in paths or ()}
    if not finders:
        finders = {mountpoint: partial(find_mount_at, mountpoint) for mountpoint in all_mounts()}
    if not finders:
        raise UsageError(NOTHING_MOUNTED)
    return finders


def ask_mounts(
    paths: Sequence[Path] | None,
    endpoint: Endpoint[P, R],
    params: Callable[[FoundMount], P],
    *,
    timeout_s: float,
) -> Iterator[tuple[Path, R | RemotefsError]]:
    """Ask the mount of each path, or every mount of this machine, all at once; yield each answer or error as it comes.

    Raises UsageError for a path that was given and is wrong, and where nothing is mounted.
    """
    for path, answer in ask_all(finders_of(paths), endpoint, params, timeout_s=timeout_s):
        if isinstance(answer, UsageError):
            raise answer
        yield path, answer


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
