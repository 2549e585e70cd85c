"""`remotefs status`, `flush`, `retry`, `id`: what the running mount says, asked over its control socket."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from remotefs.cli.blocks import content_block
from remotefs.cli.choose import all_mounts
from remotefs.cli.console import describe, print_table, printable, progress_shown, result_console, say
from remotefs.cli.failures import EXIT_WORK_LEFT
from remotefs.cli.statustable import status_rows
from remotefs.control.find import FoundMount, find_mount
from remotefs.control.messages import (
    FLUSH,
    IDENTIFY,
    RETRY,
    STATUS,
    FlushParams,
    IdentifyParams,
    Leftover,
    Nothing,
    PathParams,
)
from remotefs.errors import UsageError

STATUS_TIMEOUT_S = 10.0
WATCH_EVERY_S = 1.0
# Past the time given to the mount: for its answer to come.
GRACE_S = 10.0


def status(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="MOUNTPOINT", help="Default: every remotefs mount.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a mount, a line each.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it anew every second, until Ctrl-C.")] = False,
) -> None:
    """Say how a mount is doing.

    Whether it is online, or why not; what waits for the service, what is on its way and what failed, and why; what is
    kept on this disk; the last errors.
    """
    mounts = _mounts(paths)
    while True:
        answers = [found.control.call(STATUS, Nothing(), timeout_s=STATUS_TIMEOUT_S) for found in mounts]
        if as_json:
            typer.echo(b"\n".join(map(msgspec.json.encode, answers)))
        else:
            if watch and sys.stdout.isatty():
                result_console().clear()
            for index, answer in enumerate(answers):
                typer.echo("\n" * bool(index), nl=False)
                print_table(status_rows(answer), "<*")
        if not watch:
            return
        time.sleep(WATCH_EVERY_S)


def retry(
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Files or folders. Default: every remotefs mount.")
    ] = None,
) -> None:
    """Try what failed again now.

    What the service refused is tried again by itself, but ever more rarely, up to once an hour.
    """
    count = sum(
        found.control.call(RETRY, PathParams(found.path), timeout_s=STATUS_TIMEOUT_S).count for found in _mounts(paths)
    )
    say(f"{count:,} changes are tried again; `remotefs status` tells what comes of it")


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
    wanted = paths or all_mounts()
    if not wanted:
        raise UsageError("nothing is mounted: there is no remotefs mount on this machine")
    return [find_mount(path) for path in wanted]


def _print_leftovers(left: int, leftovers: Sequence[Leftover]) -> None:
    for leftover in leftovers:
        say(f"{leftover.path}: {leftover.reason}")
    say(f"{left:,} changes are left; the mount goes on with them")
