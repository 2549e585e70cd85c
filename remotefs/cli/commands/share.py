"""`remotefs share`: the store that several machines share."""

from __future__ import annotations

from pathlib import Path

import typer

from remotefs.cli.choose_mount import PathArguments
from remotefs.cli.console import bar_shown, human_files, human_size, notify, notify_first
from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.cli.json_output import JsonLinesChoice, print_object
from remotefs.control.find import find_mount
from remotefs.control.messages.share import SHARE, ShareParams, ShareResult

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


def _print(path: Path, result: ShareResult) -> None:
    notify(f"{path}: {human_files(result.files)}, {human_size(result.bytes)} put into the shared store")
    notify_first((f"{item.path}: {item.reason}" for item in result.failed), result.failed_count)
