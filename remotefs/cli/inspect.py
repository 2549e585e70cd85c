"""`remotefs status`, `remotefs flush`, `remotefs id`: what the running mount says, asked over its control socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from remotefs.cli.blocks import content_block
from remotefs.cli.console import describe, printable, progress_shown, result_console, say
from remotefs.cli.failures import EXIT_WORK_LEFT
from remotefs.cli.statustable import status_rows
from remotefs.control.find import FoundMount, find_mount
from remotefs.control.messages import FLUSH, IDENTIFY, STATUS, FlushParams, IdentifyParams, Leftover, Nothing, Status
from remotefs.control.mounts import read_mounts
from remotefs.errors import UsageError

STATUS_TIMEOUT_S = 10.0
# Past the time given to the mount: for its answer to come.
GRACE_S = 10.0


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("status")(status)
    app.command("flush")(flush)
    app.command("id")(identify)


def status(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="MOUNTPOINT", help="Default: every remotefs mount.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a mount, a line each.")] = False,
) -> None:
    """Say how a mount is doing.

    Whether it is online, or why not; what waits for the service, and why; what is kept on this disk.
    """
    for index, found in enumerate(_mounts(paths)):
        answer = found.control.call(STATUS, Nothing(), timeout_s=STATUS_TIMEOUT_S)
        if as_json:
            typer.echo(msgspec.json.encode(answer))
        else:
            typer.echo("\n" * bool(index), nl=False)
            _print_table(answer)


def flush(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Files or folders. Default: every remotefs mount.")
    ] = None,
    *,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait, for each path.")] = 300.0,
) -> None:
    """Wait until the service has what was written.

    The exit status is 3 when something is left; it is said what and why, and the mount goes on with it.
    """
    leftovers: list[Leftover] = []
    left = 0
    for found in _mounts(paths):
        with progress_shown("flushing") as show:
            result = found.control.call(
                FLUSH,
                FlushParams(path=found.path, timeout_s=timeout),
                timeout_s=timeout + GRACE_S,
                report=lambda progress: show(describe(progress)),
            )
        left += result.left
        leftovers += result.leftovers
    if left:
        _print_leftovers(left, leftovers)
        raise typer.Exit(EXIT_WORK_LEFT)


def identify(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Files of a mount.")],
    *,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="A content block for the Messages API, a line each: document, image or upload."),
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.0, help="Seconds to wait until the service has a file.")] = 60.0,
) -> None:
    """Print the file id of a path.

    Waits until the service has what was written there: then it is the id for the messages of the API. Every later
    edit or rename of a file changes its id.
    """
    for path in paths:
        found = find_mount(path)
        params = IdentifyParams(path=found.path, timeout_s=timeout)
        with progress_shown(f"asking for {path}") as show:
            file = found.control.call(
                IDENTIFY,
                params,
                timeout_s=timeout + GRACE_S,
                report=lambda progress: show(describe(progress)),
            )
        block = content_block(file.file_id, file.mime_type)
        typer.echo(msgspec.json.encode(block) if as_json else printable(file.file_id))


def _mounts(paths: Sequence[Path] | None) -> list[FoundMount]:
    wanted = paths or list(dict.fromkeys(entry.mountpoint for entry in read_mounts() if entry.is_remotefs))
    if not wanted:
        raise UsageError("nothing is mounted: there is no remotefs mount on this machine")
    return [find_mount(path) for path in wanted]


def _print_table(answer: Status) -> None:
    table = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2))
    for name, value in status_rows(answer):
        table.add_row(name, printable(value))
    result_console().print(table)


def _print_leftovers(left: int, leftovers: Sequence[Leftover]) -> None:
    for leftover in leftovers:
        say(f"{leftover.path}: {leftover.reason}")
    say(f"{left:,} changes are left; the mount goes on with them")
