"""`remotefs retype`: gives files that were uploaded earlier the types that they would get now."""

from __future__ import annotations

from typing import Annotated

import typer

from remotefs.cli.choose_mount import PathArguments
from remotefs.cli.console import human_size, notify
from remotefs.cli.json_output import print_object
from remotefs.control.find import FoundMount, find_mount
from remotefs.control.messages.retype import RETYPE, RetypeParams, RetypeResult

# Looking into many files.
LONG_S = 3600.0


def retype(
    paths: PathArguments,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the cost.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cost as one JSON object.")] = False,
) -> None:
    """Give files the types that an upload would give them now.

    The service never changes the type of a file. This uploads those files again whose type is another one, such as
    Markdown and CSV that went up before text was sent as text/plain, and deletes the old files. Each gets a new id.
    Files that others uploaded keep their types.
    """
    found = [find_mount(path) for path in paths]
    costs = [_call(each, dry_run=True) for each in found]
    cost = _total(costs)
    if as_json:
        print_object(cost)
    else:
        _print_cost(cost)
    if dry_run or not cost.files or not (yes or typer.confirm("Go on?", err=True)):
        return
    for each in found:
        _call(each, dry_run=False)
    notify("on its way; `remotefs flush` waits for it")


def _call(found: FoundMount, *, dry_run: bool) -> RetypeResult:
    return found.control.call(RETYPE, RetypeParams(found.path, dry_run=dry_run), timeout_s=LONG_S)


def _total(costs: list[RetypeResult]) -> RetypeResult:
    """Return what all of them cost together."""
    return RetypeResult(
        files=sum(cost.files for cost in costs),
        bytes=sum(cost.bytes for cost in costs),
        requests=sum(cost.requests for cost in costs),
        of_others=sum(cost.of_others for cost in costs),
        not_here=sum(cost.not_here for cost in costs),
    )


def _print_cost(cost: RetypeResult) -> None:
    if cost.of_others:
        notify(f"{cost.of_others:,} files that were not uploaded from here keep their types")
    if cost.not_here:
        notify(f"{cost.not_here:,} files whose bytes are not on this disk keep their types")
    notify(f"{cost.files:,} files, {human_size(cost.bytes)} to upload, about {cost.requests:,} requests")
