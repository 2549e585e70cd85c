"""`remotefs check`, `export` and `backup`, for a mount or for the state folder of one that is not running."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT, chosen_mount
from remotefs.cli.console import bar_shown, human_size, notify, notify_first, progress_shown
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.json_output import JsonChoice, print_object
from remotefs.cli.launch.plan import load_settings
from remotefs.control.find import find_mount
from remotefs.control.messages.base import Report
from remotefs.control.messages.check import (
    BACKUP,
    CHECK,
    CHECK_SHARED,
    EXPORT,
    BackupParams,
    CheckParams,
    CheckResult,
    CheckSharedParams,
    ExportParams,
    ExportResult,
    FindingReport,
)
from remotefs.errors import NotFound, UsageError

# Reading or copying all pinned content may take any time.
LONG_S = 7 * 86_400.0
_StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", click_type=A_PATH, metavar="DIR", help="The state folder of a mount that is not running."
    ),
]


def check(
    mountpoint: Annotated[
        Path | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="Default: the only remotefs mount."),
    ] = None,
    *,
    state_dir: _StateDir = None,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what can be repaired without losing bytes.")] = False,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="Read back what this machine has put into the shared store, and nothing else; MOUNTPOINT may be a "
            "file or a folder in the mount.",
        ),
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="With --shared: also what others have put there.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not list the service.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read the content that only this machine has.")] = False,
    as_json: JsonChoice = False,
) -> None:
    """Compare the parts of a mount with each other and with the service.

    Compares the tree, the pending changes, the staged files, the content with its checksums, and one listing of the
    service; for a state folder everything but the listing. Prints a line for each finding, with what to do about it.
    The exit status is 1 when there are findings.

    With --shared it reads every byte of the objects in the shared store and compares them with their checksums and with
    the digest of the upload; --repair then puts again what is missing or damaged there and whole on this disk.
    """
    if shared and (offline or quick):
        raise UsageError("--shared reads objects of the shared store alone: leave out --offline and --quick")
    if every and not shared:
        raise UsageError("--all is for the objects of the shared store: it needs --shared")
    if shared:
        result = _check_shared(mountpoint, state_dir, every=every, repair=repair)
    else:
        result = _check(mountpoint, state_dir, repair=repair, offline=offline, quick=quick)
    if as_json:
        print_object(result)
    else:
        notify_first(map(_finding_line, result.findings), result.count)
    if result.count > result.repaired:
        raise typer.Exit(EXIT_FAILED)
    if not as_json:
        notify("clean" if not result.count else f"clean, after {result.repaired:,} repairs")


def _check_shared(place: Path | None, state_dir: Path | None, *, every: bool, repair: bool) -> CheckResult:
    with bar_shown("reading the shared store") as report:
        if state_dir is not None:
            return _check_shared_idle(state_dir, every, repair, report)
        found = chosen_mount(place, "as MOUNTPOINT")
        params = CheckSharedParams(path=found.path, every=every, repair=repair)
        return found.control.call(CHECK_SHARED, params, timeout_s=LONG_S, report=report)


def _check(mountpoint: Path | None, state_dir: Path | None, *, repair: bool, offline: bool, quick: bool) -> CheckResult:
    with progress_shown("checking") as report:
        if state_dir is not None:
            return _check_idle(state_dir, repair, quick, report)
        params = CheckParams(service=not offline, read=not quick, repair=repair)
        control = chosen_mount(mountpoint, "as MOUNTPOINT").control
        return control.call(CHECK, params, timeout_s=LONG_S, report=report)


def export(
    paths: Annotated[
        list[Path],
        typer.Argument(click_type=IN_A_MOUNT, metavar="PATH... DEST", help="Files or folders, then the destination."),
    ],
    *,
    state_dir: _StateDir = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    as_json: JsonChoice = False,
) -> None:
    """Copy files from this disk to a place outside of the mount, byte for byte.

    Works offline, and with --state-dir without a mount; each PATH is then relative to the root of the mount, `.` for
    all. Prints the files that are not on this disk. The exit status is 1 then.
    """
    *sources, destination = paths
    if not sources:
        raise UsageError("export takes at least one PATH and then DEST")
    into = destination.is_dir()
    if len(sources) > 1 and not into:
        raise UsageError(f"{destination} is not a folder: several files need one")
    results = []
    with progress_shown("exporting") as report:
        for source in sources:
            name = source.absolute().name if state_dir is None else source.name
            target = (destination / name if into else destination).absolute()
            results.append(_export_one(source, target, state_dir, force=force, report=report))
    _print_exported(results, as_json=as_json)


def backup(
    destination: Annotated[Path, typer.Argument(click_type=A_PATH, metavar="DEST", help="A new or an empty folder.")],
    mountpoint: Annotated[
        Path | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="Default: the only remotefs mount."),
    ] = None,
    *,
    state_dir: _StateDir = None,
    as_json: JsonChoice = False,
) -> None:
    """Copy the state folder of a running mount: everything that the service does not give back.

    The copy shows one moment. To use it, mount with `--state-dir DEST`, in place of the original and never beside it.
    Prints the files that could not be copied. The exit status is 1 then.
    """
    target = destination.absolute()
    with progress_shown("backing up") as report:
        if state_dir is not None:
            result = _back_up_idle(state_dir, target, report)
        else:
            control = chosen_mount(mountpoint, "as MOUNTPOINT").control
            params = BackupParams(target=str(target))
            result = control.call(BACKUP, params, timeout_s=LONG_S, report=report)
    _print_exported([result], as_json=as_json)


def _export_one(source: Path, target: Path, state_dir: Path | None, *, force: bool, report: Report) -> ExportResult:
    if state_dir is not None:
        return _export_idle(state_dir, source, target, force, report)
    found = find_mount(source)
    params = ExportParams(path=found.path, target=str(target), force=force)
    return found.control.call(EXPORT, params, timeout_s=LONG_S, report=report)


def _print_exported(results: list[ExportResult], *, as_json: bool) -> None:
    whole = ExportResult(
        files=sum(result.files for result in results),
        bytes=sum(result.bytes for result in results),
        failed_count=sum(result.failed_count for result in results),
        failed=tuple(left for result in results for left in result.failed),
    )
    if as_json:
        print_object(whole)
    else:
        for result in results:
            notify_first((f"{left.path}: {left.reason}" for left in result.failed), result.failed_count)
        notify(f"{whole.files:,} files copied, {human_size(whole.bytes)}")
    if whole.failed_count:
        raise typer.Exit(EXIT_FAILED)


def _finding_line(finding: FindingReport) -> str:
    done = "repaired" if finding.repaired else finding.advice
    return f"{finding.path or '/'}: {finding.kind}: {finding.what}; {done}"


# -- without a mount: these load all of a mount, so they import it themselves


def _check_idle(state_dir: Path, repair: bool, quick: bool, report: Report) -> CheckResult:
    from remotefs.mount import offline  # noqa: PLC0415 - see above

    return offline.check(
        _existing(state_dir), load_settings(os.environ, None, {}), repair=repair, read=not quick, report=report
    )


def _check_shared_idle(state_dir: Path, every: bool, repair: bool, report: Report) -> CheckResult:
    from remotefs.mount import offline  # noqa: PLC0415 - see above
    from remotefs.mount.check.shared_objects import SharedScope  # noqa: PLC0415 - see above

    settings = load_settings(os.environ, None, {})
    return offline.check_shared(_existing(state_dir), settings, SharedScope(every=every), repair=repair, report=report)


def _export_idle(state_dir: Path, source: Path, target: Path, force: bool, report: Report) -> ExportResult:
    from remotefs.mount import offline  # noqa: PLC0415 - see above

    path = "" if source == Path() else str(source).strip("/")
    settings = load_settings(os.environ, None, {})
    return offline.export(_existing(state_dir), settings, path, target, force=force, report=report)


def _back_up_idle(state_dir: Path, target: Path, report: Report) -> ExportResult:
    from remotefs.mount import offline  # noqa: PLC0415 - see above

    return offline.backup(_existing(state_dir), load_settings(os.environ, None, {}), target, report=report)


def _existing(state_dir: Path) -> Path:
    if not state_dir.is_dir():
        raise NotFound(f"{state_dir}: there is no such folder")
    return state_dir.absolute()
