"""`remotefs id` and `path`: translate a path into a file id and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import IN_A_MOUNT, MountOption, chosen_mount
from remotefs.cli.commands.content_block import content_block
from remotefs.cli.console import print_name, progress_shown
from remotefs.cli.quantities import time_of
from remotefs.control.find import find_mount
from remotefs.control.messages.paths import IDENTIFY, PATHS, IdentifyParams, PathsParams
from remotefs.errors import NotFound

SHORT_S = 30.0
# After the time given to the mount, for its answer to arrive.
GRACE_S = 10.0


def identify(
    paths: Annotated[list[Path], typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="Files of a mount.")],
    *,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print a content block for the Messages API, a line each: document, image or upload."
        ),
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(parser=time_of, metavar="TIME", help="How long to wait until the service has a file, such as 5m."),
    ] = 60.0,
) -> None:
    """Print the file id of a path.

    Waits until the service has the content that was written there, so that messages of the API can use the id. Every
    later edit or rename of a file changes its id.
    """
    for path in paths:
        found = find_mount(path)
        params = IdentifyParams(path=found.path, timeout_s=timeout)
        with progress_shown(f"asking for {path}") as report:
            file = found.control.call(IDENTIFY, params, timeout_s=timeout + GRACE_S, report=report)
        block = content_block(file.file_id, file.mime_type)
        if as_json:
            typer.echo(msgspec.json.encode(block))
        else:
            print_name(file.file_id)


def path_of(
    file_ids: Annotated[list[str], typer.Argument(metavar="ID", help="File ids of the service.")],
    *,
    mount: MountOption = None,
) -> None:
    """Print the path of each file id, a line each."""
    found = chosen_mount(mount)
    result = found.control.call(PATHS, PathsParams(tuple(file_ids)), timeout_s=SHORT_S)
    for path in result.paths:
        if path is not None:
            print_name(str(found.mountpoint / path))
    missing = [file_id for file_id, path in zip(file_ids, result.paths, strict=True) if path is None]
    if missing:
        raise NotFound(f"{', '.join(missing)}: not in this mount")
