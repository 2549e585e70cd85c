"""`remotefs trash` and `accept-removals`: files that went away at the service."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from remotefs.cli.choose_mount import MountOption, chosen_mount
from remotefs.cli.console import human_size, notify, print_table, printable
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
trash = typer.Typer(no_args_is_help=True, help="Files that went away elsewhere and whose bytes only this machine has.")


@trash.command("list")
def list_trash(*, mount: MountOption = None) -> None:
    """Show what is in the local trash."""
    listing = chosen_mount(mount).control.call(TRASH_LIST, Nothing(), timeout_s=SHORT_S)
    rows = (
        (str(entry.number), _minute(entry.removed_at), human_size(entry.size), f"{entry.path} ({entry.reason})")
        for entry in listing.entries
    )
    print_table(rows, "><>*")


@trash.command("restore")
def restore(
    number: Annotated[int, typer.Argument(help="As `trash list` shows it.")],
    *,
    to: Annotated[str | None, typer.Option("--to", metavar="PATH", help="In the mount. Default: where it was.")] = None,
    mount: MountOption = None,
) -> None:
    """Put a file of the trash back; it is uploaded as a new one, with a new id."""
    result = chosen_mount(mount).control.call(TRASH_RESTORE, RestoreParams(number, to), timeout_s=LONG_S)
    typer.echo(printable(result.path))


@trash.command("empty")
def empty(
    *,
    older_than_days: Annotated[float, typer.Option(min=0.0, help="Only what went earlier.")] = 0.0,
    mount: MountOption = None,
) -> None:
    """Remove the files of the trash for good."""
    result = chosen_mount(mount).control.call(TRASH_EMPTY, EmptyParams(older_than_days), timeout_s=LONG_S)
    notify(f"{result.count:,} files removed from the trash")


def accept_removals(*, mount: MountOption = None) -> None:
    """Believe a listing that lacks many files.

    Nothing is removed when a listing lacks more files than are likely to have been deleted, or when as many expire
    without having been foreseen: the key, the service or a clock may be at fault. When you know that they are gone,
    this lists twice more and removes them here too. Bytes that only this machine has go to the trash.
    """
    result = chosen_mount(mount).control.call(ACCEPT_REMOVALS, Nothing(), timeout_s=LONG_S)
    notify(f"{result.count:,} files that are gone at the service were removed here")


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="minutes")
