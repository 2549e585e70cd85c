"""`remotefs dedupe`: removes copies that have piled up under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from remotefs.cli.choose_mount import IN_A_MOUNT
from remotefs.cli.console import human_size, notify, print_table
from remotefs.cli.json_output import JsonChoice, print_object
from remotefs.cli.quantities import id_of
from remotefs.control.find import find_mount
from remotefs.control.messages.dedupe import DEDUPE, DedupeParams

# Comparing many files.
LONG_S = 3600.0


def dedupe(
    path: Annotated[
        Path, typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="A mount, or a folder or file in it.")
    ],
    *,
    keep: Annotated[Literal["newest", "oldest"], typer.Option(help="Which of several equal copies stays.")] = "newest",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the copies.")] = False,
    delete: Annotated[
        list[str] | None,
        typer.Option("--delete", parser=id_of, metavar="ID", help="Delete this copy, even if its content differs."),
    ] = None,
    as_json: JsonChoice = False,
) -> None:
    """Remove copies that have piled up under one name.

    Deletes for good the copies whose bytes are on this disk and equal those of the copy that is kept. Lists the others;
    they are deleted only by their id.
    """
    found = find_mount(path)
    params = DedupeParams(path=found.path, keep_oldest=keep == "oldest", dry_run=dry_run, file_ids=tuple(delete or ()))
    result = found.control.call(DEDUPE, params, timeout_s=LONG_S)
    if as_json:
        print_object(result)
        return
    rows = ((copy.verdict, copy.file_id, human_size(copy.size), copy.path) for copy in result.copies)
    print_table(rows, "<<>*")
    notify(f"{result.removed:,} copies deleted")
