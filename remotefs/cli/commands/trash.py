"""`remotefs trash` and `accept-removals`: files that were removed at the service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from remotefs.cli.choose_mount import MountOption, chosen_mount
from remotefs.cli.console import human_size, notify, print_name, print_table
from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.cli.json_output import JsonChoice, JsonLinesChoice, print_object, print_objects
from remotefs.cli.quantities import days_of, number_of, text_of
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.trash import (
    ACCEPT_REMOVALS,
    TRASH_EMPTY,
    TRASH_LIST,
    TRASH_RESTORE,
    EmptyParams,
    RestoreParams,
)

# Listing a large account.
LONG_S = 3600.0
SHORT_S = 30.0
trash = typer.Typer(
    no_args_is_help=True,
    help="Show, put back and remove files that were removed elsewhere, whose bytes only this machine has.",
)


@trash.command("list")
def list_trash(*, as_json: JsonLinesChoice = False, mount: MountOption = None) -> None:
    """List the local trash."""
    listing = chosen_mount(mount).control.call(TRASH_LIST, Nothing(), timeout_s=SHORT_S)
    if as_json:
        print_objects(listing.entries)
        return
    if not listing.entries:
        notify("the trash is empty")
        return
    rows = (
        (str(entry.number), _minute(entry.removed_at), human_size(entry.size), f"{entry.path} ({entry.reason})")
        for entry in listing.entries
    )
    print_table(rows, "><>*")


@trash.command("restore")
def restore(
    number: Annotated[
        int, typer.Argument(parser=number_of, metavar="NUMBER", help="The number that `trash list` shows.")
    ],
    *,
    to: Annotated[
        str | None,
        typer.Option("--to", parser=text_of, metavar="PATH", help="Path in the mount. Default: where the file was."),
    ] = None,
    as_json: JsonChoice = False,
    mount: MountOption = None,
) -> None:
    """Put a file back; it is uploaded as a new file with a new id."""
    result = chosen_mount(mount).control.call(TRASH_RESTORE, RestoreParams(number, to), timeout_s=LONG_S)
    if as_json:
        print_object(result)
    else:
        print_name(result.path)


@trash.command("empty")
def empty(
    *,
    older_than_days: Annotated[
        float,
        typer.Option(
            parser=days_of,
            metavar="DAYS",
            show_default=False,
            help="Only files that were removed earlier. Default: all.",
        ),
    ] = 0.0,
    as_json: JsonChoice = False,
    mount: MountOption = None,
) -> None:
    """Remove the files of the trash for good."""
    result = chosen_mount(mount).control.call(TRASH_EMPTY, EmptyParams(older_than_days), timeout_s=LONG_S)
    if as_json:
        print_object(result)
        return
    notify(f"{result.count:,} files removed from the trash")


def accept_removals(*, as_json: JsonChoice = False, mount: MountOption = None) -> None:
    """Accept a listing in which many files are missing.

    Files stay here when a listing lacks more of them than were likely deleted, or when as many expire unexpectedly: the
    key, the service or a clock may be at fault. If you know that they are gone, this lists the service twice more and
    removes them here too. Bytes that only this machine has go to the trash.

    It also deletes objects from the shared store that wait because the files of so many are gone. They are deleted for
    good. The exit status is 3 when they could not be deleted.
    """
    result = chosen_mount(mount).control.call(ACCEPT_REMOVALS, Nothing(), timeout_s=LONG_S)
    if as_json:
        print_object(result)
    else:
        notify(f"{result.count:,} files that are gone at the service were removed here")
        if result.objects:
            notify(f"{result.objects:,} objects of files that are gone were deleted from the shared store")
        if result.trouble:
            notify(f"the objects that wait in the shared store stay: {result.trouble}")
    if result.trouble:
        raise typer.Exit(EXIT_WORK_LEFT)


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="minutes")
