"""`remotefs sync`: makes the service follow renames."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remotefs.cli.choose_mount import IN_A_MOUNT
from remotefs.cli.console import human_size, notify
from remotefs.cli.json_output import print_object
from remotefs.control.find import find_mount
from remotefs.control.messages.sync import SYNC, SyncParams, SyncResult

# Fetching many files.
LONG_S = 3600.0


def sync(
    path: Annotated[Path, typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="A file or a folder of a mount.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cost.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cost as one JSON object.")] = False,
) -> None:
    """Make the service follow renames.

    A rename of many files, or of files that others uploaded, happens only here: at the service they keep their names.
    This uploads them again under the names that they have here, and deletes the old files. Each gets a new id.
    """
    found = find_mount(path)
    cost = found.control.call(SYNC, SyncParams(found.path, dry_run=True), timeout_s=LONG_S)
    if as_json:
        print_object(cost)
    else:
        _print_cost(cost)
    if dry_run or not cost.files or not (yes or typer.confirm("Go on?", err=True)):
        return
    found.control.call(SYNC, SyncParams(found.path, dry_run=False), timeout_s=LONG_S)
    notify("on its way; `remotefs flush` waits for it")


def _print_cost(cost: SyncResult) -> None:
    for path in cost.unreadable:
        notify(f"{path}: keeps its name at the service, because its bytes cannot be read")
    notify(f"{cost.files:,} files, {human_size(cost.bytes)} to upload, about {cost.requests:,} requests")
