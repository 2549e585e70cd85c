"""`remotefs get`: fetches files and folders of the service, through a mount or without one."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
import typer

from remotefs.cli.quantities import text_of, time_of
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.cli.transfer_display import Display, print_transferred
from remotefs.cli.transfer_place import (
    BaseUrlChoice,
    MountChoice,
    StateDirChoice,
    choose_place,
    mount_around,
    work_in_folder,
)
from remotefs.control.find import FoundMount
from remotefs.errors import UsageError
from remotefs.mount.settings import MountSettings
from remotefs.mount.transfers.get import GetRequest, get_from_mount
from remotefs.mount.transfers.placing import tree_path
from remotefs.mount.transfers.records import Transferred


def get(
    arguments: Annotated[
        list[str],
        typer.Argument(
            parser=text_of,
            metavar="(ID|PATH)... DEST",
            help="File ids, paths in a mount or paths of the tree (`.` for all), then a folder or a new name on this "
            "machine.",
        ),
    ],
    *,
    generated: Annotated[
        bool, typer.Option("--generated", help="Fetch all files that were generated; DEST is the only argument.")
    ] = False,
    since: Annotated[
        float | None,
        typer.Option(parser=time_of, metavar="TIME", help="With --generated: only those of the last TIME, such as 1d."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there and differ.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each file, a line each.")] = False,
    mount: MountChoice = None,
    state_dir: StateDirChoice = None,
    base_url: BaseUrlChoice = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
) -> None:
    """Fetch files and folders of the service to this machine, with their modes and times.

    Goes through the running mount of the account where there is one, else it needs none. A second run skips the files
    that are complete and goes on with the others. A file is there whole or not at all. Prints the files that cannot be
    fetched, with the reason; the exit status is 1 then.
    """
    *names, written = arguments
    _check(names, generated=generated, since=since)
    around = _common_mount(names) if mount is None else None
    inside = tuple(_name_in(name, around) for name in names)
    place = around or choose_place(mount, state_dir, base_url, config_file, profile)
    request = GetRequest(
        inside,
        Path(written).absolute(),
        is_folder=written.endswith("/"),
        generated=generated,
        since_s=since,
        force=force,
    )
    with Display() as display:
        done = _get(request, place, display)
    print_transferred(done, as_json=as_json, next_one="")


def _get(request: GetRequest, place: FoundMount | MountSettings, display: Display) -> list[Transferred]:
    if isinstance(place, MountSettings):
        from remotefs.mount.transfers.without_mount import get_from_folder  # noqa: PLC0415 - loads all of a mount

        return work_in_folder(place, lambda: get_from_folder(request, place, display.report, display.stage))
    return trio.run(partial(get_from_mount, request, place, display.stage))


def _check(names: list[str], *, generated: bool, since: float | None) -> None:
    if generated and names:
        raise UsageError("--generated fetches all generated files: DEST is the only argument then")
    if not generated and not names:
        raise UsageError("get takes at least one ID or PATH and then DEST")
    if since is not None and not generated:
        raise UsageError("--since says how old generated files may be; it needs --generated")


def _common_mount(names: list[str]) -> FoundMount | None:
    """Return the running mount that paths of this machine lie in; None where none does. Raises UsageError."""
    mounts = {found.mountpoint: found for name in names if (found := mount_around(Path(name))) is not None}
    if len(mounts) > 1:
        raise UsageError(f"the paths lie in several mounts ({', '.join(map(str, mounts))}): fetch from one at a time")
    return next(iter(mounts.values()), None)


def _name_in(name: str, around: FoundMount | None) -> str:
    """Return a path of the tree, or an id; raises UsageError for a path of this machine outside of any mount."""
    if around is None:
        return tree_path(name).path
    inside = mount_around(Path(name))
    # An id may be written while a folder of the mount is the current one.
    is_there = inside is not None and os.path.lexists(inside.place_of(inside.path) or "")
    return inside.path if inside is not None and is_there else name
