"""The files at and below paths, once the service has them: for the commands that hand ids over."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import typer

from remotefs.cli.console import notify, notify_first, progress_shown
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.listing import Listed, Place, file_place, listed_below, requests_of
from remotefs.control.messages.paths import ARRIVE, ArriveParams

# After the time given to the mount, for its answer to arrive.
GRACE_S = 10.0
# The state of a file that is never uploaded (N6).
_LOCAL = "local"
_NAMED = 20


def arrived(places: Sequence[Place], timeout_s: float) -> list[Listed]:
    """Return the files at and below places, each once, after waiting up to `timeout_s` for those that are pending.

    Files below a folder that stay on this machine by their names are left out. Exits with the reasons where the
    service does not get another one in time. Raises as `listed_below` does.
    """
    files = list({(listed.place.found.control, listed.file.path): listed for listed in listed_below(places)}.values())
    going = [listed for listed in files if listed.file.state != _LOCAL or not listed.file.below]
    if len(going) < len(files):
        notify(f"{len(files) - len(going):,} files stay on this machine by their names, and have no id")
    files = going
    pending = [listed for listed in files if listed.file.pending or listed.file.file_id is None]
    if not pending:
        return files
    reasons = _wait([file_place(listed) for listed in pending], timeout_s)
    # A program that saves by a rename has put another file in its place meanwhile.
    now = {(listed.place.found.control, listed.file.path): listed for listed in _again(pending)}
    files = [now.get((listed.place.found.control, listed.file.path), listed) for listed in files]
    missing = [listed for listed in files if listed.file.file_id is None]
    if missing:
        shown = (f"{item.shown}: {_why(item, reasons)}" for item in missing[:_NAMED])
        notify_first(shown, len(missing))
        raise typer.Exit(EXIT_FAILED)
    return files


def _wait(places: Sequence[Place], timeout_s: float) -> dict[str, str]:
    """Wait until the service has files; return by path in the mount why it does not have some."""
    reasons: dict[str, str] = {}
    deadline = time.monotonic() + timeout_s
    for some in requests_of(places):
        left_s = max(0.0, deadline - time.monotonic())
        params = ArriveParams(tuple(place.found.path for place in some), left_s)
        with progress_shown(f"asking for {some[0].shown}{' and others' * (len(some) > 1)}") as report:
            control = some[0].found.control
            result = control.call(ARRIVE, params, timeout_s=left_s + GRACE_S, report=report)
        reasons |= {leftover.path: leftover.reason for leftover in result.leftovers}
    return reasons


def _again(pending: Sequence[Listed]) -> list[Listed]:
    """Return the files as they are now, at and below the places that they were listed for."""
    places = {file_place(listed): listed for listed in pending}
    return [
        replace(before, now_ns=now.now_ns, file=msgspec.structs.replace(now.file, below=before.file.below))
        for now in listed_below(list(places))
        for before in [places[now.place]]
        if not now.file.below
    ]


def _why(listed: Listed, reasons: dict[str, str]) -> str:
    return f"the service does not have it: {reasons.get(listed.file.path, listed.file.state)}"
