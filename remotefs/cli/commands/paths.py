"""`remotefs id` and `path`: translate a path into a file id and back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from remotefs.api.usable import Kind
from remotefs.cli.arrival import arrived
from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT, MountOption, chosen_mount
from remotefs.cli.commands.handover import (
    content_block,
    counted,
    json_lines,
    json_map,
    resources,
    too_much_for_a_request,
)
from remotefs.cli.commands.lock_file import differences, locked, read_lock, write_lock
from remotefs.cli.commands.ls_filters import use_as
from remotefs.cli.console import json_text, notify, notify_first, print_names
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.json_output import JsonLinesChoice, print_objects
from remotefs.cli.listing import Listed, Place, listed_below, places_of
from remotefs.cli.local_bytes import sums_of
from remotefs.cli.looking import looks_at
from remotefs.cli.quantities import id_of, time_of
from remotefs.control.find import FoundMount, find_mounts
from remotefs.control.messages.ls import ListedFile
from remotefs.control.messages.paths import PATHS, PathsParams
from remotefs.errors import InvalidArgument, NotFound, UsageError

SHORT_S = 30.0
# The most lines about single files.
_NAMED = 20
_STDIN = Path("-")


def identify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            click_type=IN_A_MOUNT, metavar="PATH", help="Files or folders of a mount; `-`: a list on standard input."
        ),
    ] = None,
    *,
    null: Annotated[
        bool, typer.Option("-0", "--null", help="The list on standard input has a zero byte after each path.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON array of content blocks for the Messages API, in the order given."),
    ] = False,
    as_map: Annotated[bool, typer.Option("--map", help="Print a JSON object with the id of each path.")] = False,
    mount_path: Annotated[
        str | None,
        typer.Option(
            "--resources", metavar="MOUNT_PATH", help="Print resources of a session that show the files there."
        ),
    ] = None,
    title: Annotated[bool, typer.Option("--title", help="With --json, give documents their path as title.")] = False,
    citations: Annotated[bool, typer.Option("--citations", help="With --json, let documents be cited.")] = False,
    lock: Annotated[
        Path | None,
        typer.Option(
            "--lock", click_type=A_PATH, metavar="FILE", help="Write path, id and sum of each file to FILE too."
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", click_type=A_PATH, metavar="FILE", help="Print nothing, but what is no longer as FILE has it."
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            parser=time_of,
            metavar="TIME",
            show_default=False,
            help="How long to wait until the service has a file, such as 5m. Default: 1m.",
        ),
    ] = 60.0,
) -> None:
    """Print the file ids of files, and of all files below folders.

    Waits until the service has the content that was written there, so that messages of the API can use the ids. Every
    later edit or rename of a file changes its id. No request is sent for what the service has already.
    """
    if sum([as_json, as_map, mount_path is not None, check is not None]) > 1:
        raise UsageError("--json, --map, --resources and --check are different answers: choose one")
    if (title or citations) and not as_json:
        raise UsageError("--title and --citations are parts of content blocks: add --json")
    if check is not None:
        _check(check, paths)
        return
    if mount_path is not None:
        _check_mount_path(mount_path)
    wanted = _wanted(paths, null=null)
    files = arrived(places_of(wanted, find_mounts(wanted)), timeout)
    # Whatever may be refused comes before the first output.
    output = None if mount_path is None else json_lines(resources(_ids(files), mount_path))
    if lock is not None:
        sums = sums_of([listed for listed in files if listed.file.digest is None and listed.file.here])
        write_lock(lock, [locked(listed.file, sums.get(listed.shown)) for listed in files])
    if as_json:
        _print_blocks(files, titled=title, citations=citations)
    elif as_map:
        typer.echo(json_map([(json_text(listed.shown), listed.file.file_id or "") for listed in files]))
    elif output is not None:
        typer.echo(output)
    else:
        print_names(listed.file.file_id or "" for listed in files)


def path_of(
    file_ids: Annotated[list[str], typer.Argument(parser=id_of, metavar="ID", help="File ids of the service.")],
    *,
    as_json: JsonLinesChoice = False,
    mount: MountOption = None,
) -> None:
    """Print the path of each file id, a line each."""
    found = chosen_mount(mount)
    result = found.control.call(PATHS, PathsParams(tuple(file_ids)), timeout_s=SHORT_S)
    places = [None if path is None else found.place_of(path) for path in result.paths]
    shown = [None if place is None else str(place) for place in places]
    if as_json:
        print_objects({"id": file_id, "path": path} for file_id, path in zip(file_ids, shown, strict=True))
    else:
        print_names(path for path in shown if path is not None)
    missing = [file_id for file_id, place in zip(file_ids, places, strict=True) if place is None]
    if missing:
        raise NotFound(f"{', '.join(missing)}: not in this mount")


def _check_mount_path(mount_path: str) -> None:
    """Raise UsageError at once for a path that no session can have."""
    try:
        resources([], mount_path)
    except InvalidArgument as error:
        raise UsageError(f"--resources: {error}") from None


def _wanted(paths: Sequence[Path] | None, *, null: bool) -> list[Path]:
    """Return the paths of the command line, with those of standard input in the place of `-`. Raises UsageError."""
    given = list(paths or ([_STDIN] if null else []))
    if not given:
        raise UsageError("give PATH, or `-` for a list on standard input")
    if given.count(_STDIN) > 1:
        raise UsageError("`-` can be given once: standard input has one list")
    return [path for item in given for path in (_listed_on_stdin(null=null) if item == _STDIN else [item])]


def _listed_on_stdin(*, null: bool) -> list[Path]:
    names = sys.stdin.buffer.read().split(b"\0" if null else b"\n")
    return [Path(name.decode(errors="surrogateescape")) for name in names if name]


def _ids(files: Sequence[Listed]) -> list[tuple[str, str]]:
    return [(listed.below, listed.file.file_id or "") for listed in files]


def _print_blocks(files: Sequence[Listed], *, titled: bool, citations: bool) -> None:
    looks = looks_at(files)
    uses = [use_as(listed, looks.get(listed.file.file_id or "")) for listed in files]
    blocks = [
        content_block(
            listed.file.file_id or "", use.kind, title=json_text(listed.below) if titled else None, citations=citations
        )
        for listed, use in zip(files, uses, strict=True)
    ]
    typer.echo(json_lines(blocks))
    other = [
        (listed, use) for listed, use in zip(files, uses, strict=True) if use.kind not in {Kind.DOCUMENT, Kind.IMAGE}
    ]
    notify_first((f"{listed.shown}: {use}" for listed, use in other[:_NAMED]), len(other))
    if len(files) > 1:
        notify(counted(uses))
    for sentence in too_much_for_a_request(uses, looks.values()):
        notify(sentence)


def _check(file: Path, paths: Sequence[Path] | None) -> None:
    """Compare a lock file with a mount; print each difference and fail if there is any."""
    if paths and len(paths) > 1:
        raise UsageError("--check compares with one mount: give one PATH in it")
    entries = read_lock(file)
    found = chosen_mount(paths[0] if paths else None, "as PATH")
    places = [Place(entry.path, FoundMount(found.mountpoint, found.control, entry.path)) for entry in entries]
    now: dict[str, ListedFile] = {
        listed.file.path: listed.file for listed in listed_below(places, skip_missing=True) if not listed.file.below
    }
    differing = list(differences(entries, now))
    for path, difference in differing:
        notify(f"{path} {difference}")
    if differing:
        notify(f"{len(differing):,} of {len(entries):,} files are not as {file} has them")
        raise typer.Exit(EXIT_FAILED)
