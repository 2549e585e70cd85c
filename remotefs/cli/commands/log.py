"""`remotefs log`: shows and changes what a running mount logs."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import MountArgument, chosen_mount
from remotefs.cli.console import print_table
from remotefs.config import LogFormat, LogLevel
from remotefs.control.messages.log import LOG, LogParams, LogState

_TIMEOUT_S = 10.0


def log(
    mountpoint: MountArgument = None,
    *,
    level: Annotated[LogLevel | None, typer.Option(help="Log messages of this level and above.")] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            "--format", help="plain lines, a JSON object a line, or the journal (and plain lines in the file)."
        ),
    ] = None,
    access: Annotated[
        bool | None, typer.Option("--access/--no-access", help="Log each request of the kernel to a file of its own.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show where a running mount logs, and change what.

    A change lasts until the mount ends; the settings of [log] say how the next one begins.
    """
    params = LogParams(level=level, format=log_format, access=access)
    found = chosen_mount(mountpoint, "as the argument")
    state = found.control.call(LOG, params, timeout_s=_TIMEOUT_S)
    if as_json:
        typer.echo(msgspec.json.encode(state))
    else:
        print_table(_rows(state), "<*")


def _rows(state: LogState) -> list[tuple[str, str]]:
    dropped = f", {state.dropped:,} requests are missing in it" if state.dropped else ""
    access = f"{state.access_path}{dropped}" if state.access or state.dropped else "off"
    return [("log", state.path), ("level", state.level), ("format", state.format), ("access log", access)]
