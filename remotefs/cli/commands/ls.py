"""`remotefs ls`: the files of a mount with what the service and this machine have of them, without a request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from remotefs.api.usable import Kind, Use
from remotefs.cli.choose_mount import IN_A_MOUNT, chosen_mount
from remotefs.cli.commands.duplicates import Copies, copies_among, of_equal_size, to_read
from remotefs.cli.commands.ls_filters import Filter, Summary, use_as
from remotefs.cli.commands.ls_table import (
    HEADER,
    WIDTHS,
    copies_rows,
    exclude_pattern,
    record,
    row,
    usable_row,
)
from remotefs.cli.console import human_size, notify, print_names, print_table, result_console
from remotefs.cli.listing import Listed, Place, listed_below, places_of
from remotefs.cli.local_bytes import sums_of
from remotefs.cli.looking import looks_at
from remotefs.cli.quantities import age_of, text_of
from remotefs.control.find import find_mount, find_mounts
from remotefs.errors import UsageError

# An expiry within this time is shown.
SOON_S = 7 * 86_400.0
_ROWS_A_TABLE = 500
T = TypeVar("T")


def ls(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            click_type=IN_A_MOUNT,
            metavar="PATH",
            help="Files or folders of a mount. Default: here, else the only mount.",
        ),
    ] = None,
    *,
    generated: Annotated[
        bool, typer.Option("--generated", help="Only outputs that a tool made at the service.")
    ] = False,
    since: Annotated[
        float | None,
        typer.Option(parser=age_of, metavar="TIME", help="Only files made within this time, such as 1d or 2h."),
    ] = None,
    older: Annotated[
        float | None, typer.Option(parser=age_of, metavar="TIME", help="Only files made longer ago, such as 30d.")
    ] = None,
    expiring: Annotated[bool, typer.Option("--expiring", help="Only files that expire within 7 days.")] = False,
    within: Annotated[
        float | None, typer.Option(parser=age_of, metavar="TIME", help="Only files that expire within this time.")
    ] = None,
    unreadable: Annotated[
        bool, typer.Option("--unreadable", help="Only files that cannot be read on this machine.")
    ] = False,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Only files whose content another file has too; empty files left out.")
    ] = False,
    usable: Annotated[
        bool,
        typer.Option("--usable", help="Only files that a message can refer to as a document or an image, and why."),
    ] = False,
    type_pattern: Annotated[
        str | None,
        typer.Option(
            "--type", parser=text_of, metavar="PATTERN", help="Only files of this type: pdf, image, 'text/*'."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each file, a line each.")] = False,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="Print paths alone, each with a zero byte after it, for xargs -0.")
    ] = False,
    for_rsync: Annotated[
        bool,
        typer.Option("--for-rsync", help="Print patterns for rsync --exclude-from, anchored at PATH; -0 for --from0."),
    ] = False,
) -> None:
    """List files with their age, size, type, state and id.

    Folders are listed with everything below them. The mount answers from its tree, without a request to the service.
    Ages count from the upload, by the service's clock.
    """
    soon_s = SOON_S if within is None else within
    wanted = Filter(
        generated=generated,
        unreadable=unreadable,
        since_s=since,
        older_s=older,
        expires_within_s=soon_s if expiring or within is not None else None,
        type_pattern=type_pattern,
    )
    files = filter(wanted.takes, listed_below(_places(paths)))
    output = _Output(as_json=as_json, null=null, for_rsync=for_rsync, soon_s=soon_s)
    if duplicates:
        _show_duplicates(list(files), output)
    elif usable:
        _show_usable(list(files), output)
    else:
        output.show(files)


def _places(paths: Sequence[Path] | None) -> list[Place]:
    """Return the places that are asked for: the folder here where it lies in a mount, else the only mount."""
    if paths:
        return places_of(paths, find_mounts(paths))
    try:
        return [Place("", find_mount(Path()))]
    except UsageError:
        found = chosen_mount(None, "as PATH")
        return [Place(str(found.mountpoint), found)]


class _Output:
    """Prints files in the form that is asked for."""

    def __init__(self, *, as_json: bool, null: bool, for_rsync: bool, soon_s: float) -> None:
        if as_json and (null or for_rsync):
            raise UsageError("--json prints objects, -0 and --for-rsync paths: choose one")
        self._as_json = as_json
        self._names_only = null or for_rsync
        self._for_rsync = for_rsync
        self._end = b"\0" if null else b"\n"
        self.soon_s = soon_s

    @property
    def is_table(self) -> bool:
        """Return whether a person reads it."""
        return not (self._as_json or self._names_only)

    def show(self, files: Iterable[Listed]) -> None:
        """Print files as they come, then a line about all of them for a person."""
        summary = Summary(self.soon_s)
        short = result_console().is_terminal if self.is_table else False
        head = [HEADER] if short else []
        for some in _batches(files):
            if self.is_table:
                rows = (row(listed, soon_s=self.soon_s, short=short) for listed in some)
                print_table([*head, *rows], "<><<<*", WIDTHS)
                head = []
            else:
                self.print_all((listed, use_as(listed), None) for listed in some)
            for listed in some:
                summary.add(listed)
        if self.is_table:
            notify(str(summary))

    def print_all(self, files: Iterable[tuple[Listed, Use, Copies | None]]) -> None:
        """Print names or objects."""
        if self._names_only:
            print_names((self._name(listed) for listed, _, _ in files), end=self._end)
            return
        lines = [msgspec.json.encode(record(listed, use, copies=copies)) for listed, use, copies in files]
        typer.echo(b"".join(line + b"\n" for line in lines), nl=False)

    def _name(self, listed: Listed) -> str:
        return exclude_pattern(listed.below) if self._for_rsync else listed.shown


def _show_duplicates(files: Sequence[Listed], output: _Output) -> None:
    candidates = of_equal_size(files)
    groups, unknown = copies_among(candidates, sums_of(to_read(candidates)))
    if output.is_table:
        for number, copies in enumerate(groups, start=1):
            print_table(copies_rows(number, copies, short=result_console().is_terminal), "<><<<*", (3, 10, 7, 6))
        surplus = sum(len(copies.files) - 1 for copies in groups)
        size = human_size(sum(copies.surplus_bytes for copies in groups))
        notify(f"copies of others here: {surplus:,}, {size}; `remotefs dedupe` removes copies of one name")
    else:
        output.print_all((listed, use_as(listed), copies) for copies in groups for listed in copies.files)
    if unknown:
        notify(f"{unknown:,} files of equal size cannot be compared: their bytes are not here")


def _show_usable(files: Sequence[Listed], output: _Output) -> None:
    looks = looks_at(files)
    uses = [(listed, use_as(listed, looks.get(listed.file.file_id or ""))) for listed in files]
    chosen = [(listed, use) for listed, use in uses if use.kind in {Kind.DOCUMENT, Kind.IMAGE}]
    if not output.is_table:
        output.print_all((listed, use, None) for listed, use in chosen)
        return
    short = result_console().is_terminal
    for some in _batches(chosen):
        print_table([usable_row(listed, use, short=short) for listed, use in some], "<><**", (8, 10))
    notify(f"{len(chosen):,} of {len(files):,} files can be referred to as a document or an image")


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, _ROWS_A_TABLE)):
        yield batch
