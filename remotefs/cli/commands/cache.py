"""`remotefs warm`, `pin`, `unpin` and `cache`: the content that is kept on this disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import MountOption, PathArguments, chosen_mount
from remotefs.cli.console import bar_shown, human_size, notify, notify_first, print_table
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.json_output import JsonChoice, JsonLinesChoice, print_object
from remotefs.cli.quantities import size_of
from remotefs.control.find import find_mount
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.cache import (
    CACHE_CLEAR,
    CACHE_INFO,
    CACHE_TRIM,
    UNPIN,
    WARM,
    CacheInfo,
    ClearParams,
    SoleCopies,
    TrimParams,
    UnpinParams,
    WarmParams,
)

# Fetching may take any time; the mount reports its progress.
LONG_S = 7 * 86_400.0
SHORT_S = 60.0
_YES = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]

cache = typer.Typer(no_args_is_help=True, help="Show and free the content that is kept on this disk.")


def warm(paths: PathArguments, *, as_json: JsonLinesChoice = False) -> None:
    """Fetch content to this disk, for fast and offline reading.

    Prints the files that cannot be fetched, because the service does not give back what was uploaded elsewhere. The
    exit status is 1 then.
    """
    _warm(paths, pin=False, as_json=as_json)


def pin(paths: PathArguments, *, as_json: JsonLinesChoice = False) -> None:
    """Fetch content to this disk and keep it there, even when room is needed.

    `remotefs unpin` allows it to be evicted again.
    """
    _warm(paths, pin=True, as_json=as_json)


def unpin(paths: PathArguments, *, yes: _YES = False, as_json: JsonLinesChoice = False) -> None:
    """Allow content to be evicted when room is needed.

    Asks before it unpins files that were uploaded from here: the service does not give them back, so they cannot be
    read any more once their content is evicted.
    """
    for path in paths:
        found = find_mount(path)
        result = found.control.call(UNPIN, UnpinParams(path=found.path), timeout_s=SHORT_S)
        count = result.files
        if result.sole.files:
            _print_unreadable(result.sole, "may become unreadable at any time")
            if yes or typer.confirm("Unpin them too?", err=True):
                params = UnpinParams(path=found.path, sole_too=True)
                count += found.control.call(UNPIN, params, timeout_s=SHORT_S).files
        if as_json:
            print_object({"path": str(path), "files": count})
        else:
            notify(f"{path}: {count:,} files unpinned")


@cache.command("info")
def info(*, as_json: JsonChoice = False, mount: MountOption = None) -> None:
    """Show how much room content takes on this disk, and how much it may take."""
    found = chosen_mount(mount).control.call(CACHE_INFO, Nothing(), timeout_s=SHORT_S)
    if as_json:
        print_object(found)
        return
    rows = [
        ("pinned", f"{human_size(found.pinned_bytes)} in {found.pinned_files:,} files"),
        ("of these only here", f"{human_size(found.sole.bytes)} in {found.sole.files:,} files"),
        ("can be evicted", f"{human_size(found.evictable_bytes)} in {found.evictable_files:,} files"),
        *_uploads(found),
        ("at most", human_size(found.limit_bytes)),
        ("being written", human_size(found.staging_bytes)),
        ("free on the disk", f"{human_size(found.free_bytes)}, {human_size(found.reserve_bytes)} of it in reserve"),
    ]
    print_table(rows, "<*")


def _uploads(found: CacheInfo) -> list[tuple[str, str]]:
    what = f"{human_size(found.shared_bytes)} in {found.shared_files:,} files; only when the disk is short"
    return [("of these uploads", what)] if found.shared_files else []


@cache.command("trim")
def trim(
    *,
    to: Annotated[
        int,
        typer.Option(
            "--to",
            parser=size_of,
            metavar="SIZE",
            show_default=False,
            help="How much may stay, such as 500M or 2G (1024 each). Default: nothing.",
        ),
    ] = 0,
    as_json: JsonChoice = False,
    mount: MountOption = None,
) -> None:
    """Evict content that can be fetched again, the longest unused first."""
    freed = chosen_mount(mount).control.call(CACHE_TRIM, TrimParams(to), timeout_s=SHORT_S)
    if as_json:
        print_object(freed)
        return
    notify(f"{freed.files:,} files evicted, {human_size(freed.bytes)}")


@cache.command("clear")
def clear(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also remove pinned content; shows first what that loses.")
    ] = False,
    yes: _YES = False,
    as_json: JsonChoice = False,
    mount: MountOption = None,
) -> None:
    """Remove all content that can be fetched again; with --force also what cannot.

    The content of open files stays. Bytes that are not uploaded yet are never touched.
    """
    control = chosen_mount(mount).control
    sole = control.call(CACHE_INFO, Nothing(), timeout_s=SHORT_S).sole
    if force and sole.files:
        _print_unreadable(sole, "become unreadable for good")
        if not (yes or typer.confirm("Remove their content?", err=True)):
            raise typer.Exit(EXIT_FAILED)
    freed = control.call(CACHE_CLEAR, ClearParams(pinned_too=force), timeout_s=LONG_S)
    if as_json:
        print_object(freed)
        return
    notify(f"the content of {freed.files:,} files removed, {human_size(freed.bytes)}")
    if sole.files and not force:
        notify(f"{sole.files:,} files stay, {human_size(sole.bytes)}: the service does not give them back")


def _warm(paths: list[Path], *, pin: bool, as_json: bool) -> None:
    is_whole = True
    for path in paths:
        found = find_mount(path)
        with bar_shown(str(path)) as report:
            result = found.control.call(WARM, WarmParams(found.path, pin), timeout_s=LONG_S, report=report)
        is_whole &= not result.failed_count
        if as_json:
            print_object({"path": str(path), **msgspec.to_builtins(result)})
            continue
        notify_first((f"{left.path}: {left.reason}" for left in result.failed), result.failed_count)
        notify(f"{path}: {result.files:,} files are {'pinned' if pin else 'here'}, {human_size(result.bytes)}")
    if not is_whole:
        raise typer.Exit(EXIT_FAILED)


def _print_unreadable(sole: SoleCopies, fate: str) -> None:
    notify_first(sole.paths, sole.files)
    notify(f"{sole.files:,} files that only this machine has, {human_size(sole.bytes)}, {fate}")
