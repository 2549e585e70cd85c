"""`remotefs limit`: shows and changes the limits of bandwidth of a running mount."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import MountArgument, chosen_mount
from remotefs.cli.console import human_size, print_table
from remotefs.cli.quantities import rate_of
from remotefs.control.messages.limit import LIMIT, LimitParams, Limits

_TIMEOUT_S = 10.0


def limit(
    mountpoint: MountArgument = None,
    *,
    upload_rate: Annotated[
        int | None,
        typer.Option(parser=rate_of, metavar="RATE", help="Upload at most this many bytes a second; 0: no limit."),
    ] = None,
    download_rate: Annotated[
        int | None,
        typer.Option(parser=rate_of, metavar="RATE", help="Download at most this many bytes a second; 0: no limit."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Show and change the bandwidth limits of a running mount.

    A change holds at once, also for transfers under way, and lasts until the mount ends.
    """
    params = LimitParams(upload_rate=upload_rate, download_rate=download_rate)
    found = chosen_mount(mountpoint, "as the argument")
    limits = found.control.call(LIMIT, params, timeout_s=_TIMEOUT_S)
    if as_json:
        typer.echo(msgspec.json.encode(limits))
    else:
        print_table(_rows(limits), "<*")


def _rows(limits: Limits) -> list[tuple[str, str]]:
    return [
        ("upload", _shown(limits.upload_rate, limits.uploads_waiting)),
        ("download", _shown(limits.download_rate, limits.downloads_waiting)),
    ]


def _shown(rate: int, waiting: int) -> str:
    if not rate:
        return "no limit"
    return f"{human_size(rate)}/s{f', {waiting:,} transfers wait for their turn' if waiting else ''}"
