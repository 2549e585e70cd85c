"""`remotefs watch`: follows what others add, replace and remove, and runs a command for each of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import IN_A_MOUNT, chosen_mount
from remotefs.cli.console import human_size, notify, printable
from remotefs.cli.json_output import print_object
from remotefs.cli.quantities import moment_of
from remotefs.control.find import FoundMount, find_mount
from remotefs.control.messages.watch import WATCH, WatchedEvent, WatchParams
from remotefs.errors import AmbiguousOutcome, Unreachable, UsageError

_WAIT_S = 30.0
# A mount answers within this time, beside what it waits for events.
_ANSWER_S = 30.0
_PLACE = "{}"


def watch(
    path: Annotated[
        Path | None,
        typer.Argument(
            click_type=IN_A_MOUNT,
            metavar="PATH",
            help="A folder or file of a mount. Default: here, else the only mount.",
        ),
    ] = None,
    program: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- COMMAND [ARG]...]",
            help="A command to run for each event, without a shell; {} stands for the path.",
        ),
    ] = None,
    *,
    generated: Annotated[
        bool, typer.Option("--generated", help="Only outputs that a tool made at the service.")
    ] = False,
    since: Annotated[
        float | None,
        typer.Option(
            parser=moment_of, metavar="TIME", help="Events of this time first, such as 1d, or since 2026-11-28T08:00."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each event, a line each.")] = False,
) -> None:
    """Print what others add, replace and remove, as it comes.

    Ends with Ctrl-C, or with the mount. Own changes are not shown. Events that the log has dropped are shown as lost.
    """
    found = _found(path)
    for event in _events(found, generated=generated, since=since):
        place = found.place_of(event.path) if event.event != "lost" else None
        _print(event, place, found, as_json=as_json)
        if program and place is not None:
            _run(program, event, place)


def _found(path: Path | None) -> FoundMount:
    if path is not None:
        return find_mount(path)
    try:
        return find_mount(Path())
    except UsageError:
        return chosen_mount(None, "as PATH")


def _events(found: FoundMount, *, generated: bool, since: float | None) -> Iterator[WatchedEvent]:
    """Yield events as they come, until the mount ends. Raises as `ControlClient.call` does."""
    params = WatchParams(path=found.path, generated=generated, since=since)
    page = found.control.call(WATCH, params, timeout_s=_ANSWER_S)
    while True:
        yield from page.events
        params = msgspec.structs.replace(params, after=page.last, since=None, wait_s=_WAIT_S)
        try:
            page = found.control.call(WATCH, params, timeout_s=_WAIT_S + _ANSWER_S)
        except (AmbiguousOutcome, Unreachable) as error:
            raise Unreachable(f"the mount at {found.mountpoint} has ended") from error


def _print(event: WatchedEvent, place: Path | None, found: FoundMount, *, as_json: bool) -> None:
    if as_json:
        print_object(_record(event, place, found))
    elif event.event == "lost":
        notify(f"events before {_time(event.at)} are lost: {event.reason}")
    else:
        size = human_size(event.size) if event.event != "removed" else ""
        typer.echo(f"{event.event:8}  {size:>10}  {printable(str(place or event.path))}")


def _record(event: WatchedEvent, place: Path | None, found: FoundMount) -> dict[str, object]:
    record: dict[str, object] = {"event": event.event, "at": _time(event.at)}
    if event.event == "lost":
        return record | {"reason": event.reason}
    source = found.place_of(event.source) if event.source else None
    return record | {
        "path": str(place or event.path),
        "id": event.file_id,
        "size": event.size,
        "generated": event.generated,
        **({"from": str(source or event.source)} if event.source else {}),
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _run(program: list[str], event: WatchedEvent, place: Path) -> None:
    """Run the command for an event, and report one that fails. Raises UsageError where there is no such program."""
    words = [word.replace(_PLACE, str(place)) for word in program]
    # Not REMOTEFS_…: these are settings, and a command may well call remotefs.
    variables = {"WATCHED_EVENT": event.event, "WATCHED_ID": event.file_id or ""}
    try:
        status = subprocess.run(  # noqa: S603 - what the user asked for
            words, check=False, stdin=subprocess.DEVNULL, env=os.environ | variables
        ).returncode
    except OSError as error:
        raise UsageError(f"{words[0]} cannot be run: {error.strerror}") from error
    if status:
        notify(f"{words[0]} failed for {place}: exit status {status}")
