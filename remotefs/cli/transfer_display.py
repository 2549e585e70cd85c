"""Shows a transfer while it runs, and what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec
import typer

from remotefs.cli.console import bar_shown, human_files, human_size, notify, notify_first, progress_shown
from remotefs.cli.exit_status import EXIT_FAILED, EXIT_WORK_LEFT
from remotefs.control.messages.base import Notice, Progress, Report
from remotefs.mount.transfers.records import Outcome, Transferred

# So many files that were left out are named; `--json` has them all.
_NAMED = 100
_KEPT = frozenset({Outcome.PENDING, Outcome.REFUSED})
_DONE = {
    Outcome.SENT: "sent",
    Outcome.UNCHANGED: "there already, unchanged",
    Outcome.LOCAL: "kept on this machine",
    Outcome.FETCHED: "fetched",
    Outcome.PRESENT: "there already",
}


class Display:
    """Shows one thing at a time on the terminal: what comes before the work, then a bar for each stage of it."""

    def __init__(self) -> None:
        self._shown = ExitStack()
        self._report: Report | None = None

    def report(self, progress: Progress) -> None:
        """Show progress from before the first stage; a notice is to be read."""
        if isinstance(progress, Notice):
            notify(progress.text)
            return
        if self._report is None:
            self._report = self._shown.enter_context(progress_shown("asking the service"))
        self._report(progress)

    @contextmanager
    def stage(self, title: str) -> Iterator[Report]:
        """Show a bar for as long as the block lasts."""
        self._shown.close()
        with bar_shown(title) as report:
            yield report

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()


def print_transferred(
    done: Sequence[Transferred], *, as_json: bool, next_one: str, failed_status: int = EXIT_FAILED
) -> None:
    """Print what became of each file; `next_one` sends what is left.

    Raises Exit: `failed_status` where files were left out, else 3 where some are kept for later.
    """
    if as_json:
        for file in done:
            typer.echo(msgspec.json.encode(_record(file)))
    left_out = [file for file in done if file.outcome in _KEPT or file.outcome is Outcome.FAILED]
    if not as_json:
        notify_first((f"{file.path or file.local}: {file.reason}" for file in left_out[:_NAMED]), len(left_out))
    for outcome, words in _DONE.items():
        files = [file for file in done if file.outcome is outcome]
        if files:
            notify(f"{human_files(len(files))} {words}, {human_size(sum(file.size for file in files))}")
    kept = sum(file.outcome in _KEPT for file in done)
    if kept:
        notify(f"not with the service yet: {human_files(kept)}; nothing is lost, {next_one}")
    if len(left_out) > kept:
        notify(f"{human_files(len(left_out) - kept)} failed")
        raise typer.Exit(failed_status)
    if kept:
        raise typer.Exit(EXIT_WORK_LEFT)


def _record(file: Transferred) -> dict[str, object]:
    record = {
        "path": file.path,
        # A path of this machine may have bytes that are not UTF-8, which JSON cannot have.
        "local": os.fsencode(file.local).decode(errors="replace"),
        "size": file.size,
        "outcome": file.outcome.value,
        "id": file.file_id,
        "reason": file.reason,
    }
    return {name: value for name, value in record.items() if value is not None}
