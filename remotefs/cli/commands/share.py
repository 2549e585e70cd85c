"""`remotefs share` and `unshare`: the store that several machines share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from remotefs.cli.choose_mount import PathArguments
from remotefs.cli.console import bar_shown, human_files, human_size, notify, notify_first
from remotefs.cli.exit_status import EXIT_FAILED, EXIT_WORK_LEFT
from remotefs.cli.json_output import JsonLinesChoice, print_object
from remotefs.control.find import FoundMount, find_mount
from remotefs.control.messages.base import Leftover
from remotefs.control.messages.share import SHARE, UNSHARE, ShareParams, ShareResult, UnshareParams, UnshareResult

# Putting everything may take any time; the mount reports its progress.
LONG_S = 7 * 86_400.0


def share(
    paths: PathArguments,
    *,
    as_json: JsonLinesChoice = False,
) -> None:
    """Put existing files into the shared store.

    With `shared.store` every new upload goes there by itself. This puts what was uploaded from this machine before, so
    that other machines can read it too. Ctrl-C stops the display alone: the mount goes on. The exit status is 3 when
    files are left, which are printed with the reasons.
    """
    left = 0
    for path in paths:
        found = find_mount(path)
        with bar_shown(str(path)) as report:
            result = found.control.call(SHARE, ShareParams(found.path), timeout_s=LONG_S, report=report)
        left += result.failed_count
        if as_json:
            print_object({"path": str(path), "files": result.files, "bytes": result.bytes, "failed": result.failed})
        else:
            _print(path, result)
    if left:
        raise typer.Exit(EXIT_WORK_LEFT)


def unshare(
    paths: PathArguments,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which files would go.")] = False,
    as_json: JsonLinesChoice = False,
) -> None:
    """Take files out of the shared store; they stay on this disk.

    Deletes the objects of files that were uploaded from this machine and whose bytes are whole and pinned here; the
    others are printed. Other machines can then read only what they have on their own disks. Newer versions of these
    files stay out, too; `remotefs share` takes that back. The exit status is 3 when files are left in the store.
    """
    found = {path: find_mount(path) for path in paths}
    plans = {path: _unshare(path, each, dry_run=True) for path, each in found.items()}
    files, size = sum(plan.files for plan in plans.values()), sum(plan.bytes for plan in plans.values())
    results = plans
    if files and not dry_run:
        notify(
            f"{human_files(files)}, {human_size(size)}: nobody else can fetch them then; this disk has the only copy"
        )
        if not (yes or typer.confirm("Go on?", err=True)):
            raise typer.Exit(EXIT_FAILED)
        results = {path: _unshare(path, each, dry_run=False) for path, each in found.items()}
    for path, result in results.items():
        if as_json:
            print_object({"path": str(path), "files": result.files, "bytes": result.bytes, "failed": result.failed})
        else:
            verb = "would be taken" if dry_run else "taken"
            notify(f"{path}: {human_files(result.files)}, {human_size(result.bytes)} {verb} out of the shared store")
            _print_left(result.failed, result.failed_count)
    if any(result.failed_count for result in results.values()):
        raise typer.Exit(EXIT_WORK_LEFT)


def _unshare(path: Path, found: FoundMount, *, dry_run: bool) -> UnshareResult:
    with bar_shown(str(path)) as report:
        params = UnshareParams(path=found.path, dry_run=dry_run)
        return found.control.call(UNSHARE, params, timeout_s=LONG_S, report=report)


def _print(path: Path, result: ShareResult) -> None:
    notify(f"{path}: {human_files(result.files)}, {human_size(result.bytes)} put into the shared store")
    _print_left(result.failed, result.failed_count)


def _print_left(failed: Sequence[Leftover], count: int) -> None:
    notify_first((f"{item.path}: {item.reason}" for item in failed), count)
