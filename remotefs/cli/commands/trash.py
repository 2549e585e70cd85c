"""`remotefs trash`, `accept-removals`, `path`, `sync`, `dedupe`: keeping a mount and its account tidy."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from remotefs.cli.choose_mount import MountOption, chosen_mount
from remotefs.cli.console import human_size, print_table, printable, say
from remotefs.control.find import find_mount
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.dedupe import DEDUPE, DedupeParams
from remotefs.control.messages.paths import PATHS, PathsParams
from remotefs.control.messages.sync import SYNC, SyncParams, SyncResult
from remotefs.control.messages.trash import (
    ACCEPT_REMOVALS,
    TRASH_EMPTY,
    TRASH_LIST,
    TRASH_RESTORE,
    EmptyParams,
    RestoreParams,
)
from remotefs.errors import NotFound

# Listing a large account, comparing or fetching many files.
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
    say(f"{result.count:,} files removed from the trash")


def accept_removals(*, mount: MountOption = None) -> None:
    """Believe a listing that lacks many files.

    Nothing is removed when a listing lacks more files than are likely to have been deleted, or when as many expire
    without having been foreseen: the key, the service or a clock may be at fault. When you know that they are gone,
    this lists twice more and removes them here too. Bytes that only this machine has go to the trash.
    """
    result = chosen_mount(mount).control.call(ACCEPT_REMOVALS, Nothing(), timeout_s=LONG_S)
    say(f"{result.count:,} files that are gone at the service were removed here")


def path_of(
    file_ids: Annotated[list[str], typer.Argument(metavar="ID", help="File ids of the service.")],
    *,
    mount: MountOption = None,
) -> None:
    """Print the path of a file id, a line each."""
    found = chosen_mount(mount)
    result = found.control.call(PATHS, PathsParams(tuple(file_ids)), timeout_s=SHORT_S)
    for path in result.paths:
        if path is not None:
            typer.echo(printable(str(found.mountpoint / path)))
    missing = [file_id for file_id, path in zip(file_ids, result.paths, strict=True) if path is None]
    if missing:
        raise NotFound(f"{', '.join(missing)}: not in this mount")


def sync(
    path: Annotated[Path, typer.Argument(help="A file or a folder of a mount.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it costs.")] = False,
) -> None:
    """Make the service follow renames.

    A rename of many files, or of files of others, is true here alone: at the service they keep their names. This
    uploads them again under the names they have here, and deletes the old files. Every one gets a new id.
    """
    found = find_mount(path)
    cost = found.control.call(SYNC, SyncParams(found.path, dry_run=True), timeout_s=LONG_S)
    _say_cost(cost)
    if dry_run or not cost.files or not (yes or typer.confirm("Go on?", err=True)):
        return
    found.control.call(SYNC, SyncParams(found.path, dry_run=False), timeout_s=LONG_S)
    say("on its way; `remotefs flush` waits for it")


def dedupe(
    path: Annotated[Path, typer.Argument(help="A mount, or a folder or file in it.")],
    *,
    keep: Annotated[Literal["newest", "oldest"], typer.Option(help="Which of several equal ones stays.")] = "newest",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what there is.")] = False,
    delete: Annotated[
        list[str] | None, typer.Option("--delete", metavar="ID", help="Delete this copy, whatever it holds.")
    ] = None,
) -> None:
    """Remove copies that have piled up under one name.

    Deletes, for good, those whose bytes are here and equal to the one that is kept, byte for byte. The others are
    listed, and deleted only by their id.
    """
    found = find_mount(path)
    params = DedupeParams(path=found.path, keep_oldest=keep == "oldest", dry_run=dry_run, file_ids=tuple(delete or ()))
    result = found.control.call(DEDUPE, params, timeout_s=LONG_S)
    rows = ((copy.verdict, copy.file_id, human_size(copy.size), copy.path) for copy in result.copies)
    print_table(rows, "<<>*")
    say(f"{result.removed:,} copies deleted")


def _minute(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="minutes")


def _say_cost(cost: SyncResult) -> None:
    for path in cost.unreadable:
        say(f"{path}: keeps its name at the service, for its bytes cannot be read")
    say(f"{cost.files:,} files, {human_size(cost.bytes)} to upload, about {cost.requests:,} requests")
