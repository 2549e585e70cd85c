"""`remotefs status`, `flush` and `retry`: ask running mounts over their control sockets."""

from __future__ import annotations

import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer

from remotefs.cli.choose_mount import IN_A_MOUNT, ask_mounts, finders_of
from remotefs.cli.commands.status_rates import Rates, rate_rows, rates_between
from remotefs.cli.commands.status_table import status_rows
from remotefs.cli.console import notify, print_table, progress_shown, result_console
from remotefs.cli.exit_status import EXIT_FAILED, EXIT_WORK_LEFT
from remotefs.cli.json_output import JsonChoice, print_object
from remotefs.cli.quantities import time_of
from remotefs.control.find import FoundMount
from remotefs.control.messages.base import DrainResult, Leftover, Nothing
from remotefs.control.messages.status import FLUSH, RETRY, STATUS, FlushParams, PathParams, Status
from remotefs.errors import RemotefsError, UsageError

T = TypeVar("T")

STATUS_TIMEOUT_S = 10.0
# Between two displays: one that hangs is not to hold up the others for longer each time.
WATCH_TIMEOUT_S = 2.0
WATCH_EVERY_S = 1.0
# The displays over which rates are taken: a single second says little.
_RATES_OVER = 5
# After the time given to the mount, for its answer to arrive.
GRACE_S = 10.0


def status(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="Default: every remotefs mount."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each mount, a line each.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again every second, with its rates, until Ctrl-C.")
    ] = False,
) -> None:
    """Show the state of a mount.

    Shows whether it is online, or why not; pending, running and failed uploads, with the reasons; the content on this
    disk; and the last errors.
    """
    if watch:
        _watch_status(paths, as_json=as_json)
    failed = False
    # Each is printed as it comes: one that hangs holds up none of the others.
    for index, (path, answer) in enumerate(_ask_status(paths, STATUS_TIMEOUT_S)):
        _print_status(path, answer, index, as_json=as_json)
        failed |= isinstance(answer, RemotefsError)
    if failed:
        raise typer.Exit(EXIT_FAILED)


def retry(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="Files or folders. Default: every remotefs mount."),
    ] = None,
    *,
    as_json: JsonChoice = False,
) -> None:
    """Try changes that failed again now.

    Changes that the service refused are tried again automatically too, but less and less often, down to once an hour.
    """
    answers = dict(ask_mounts(paths, RETRY, lambda found: PathParams(_part(found)), timeout_s=STATUS_TIMEOUT_S))
    counts = [answer.count for answer in answers.values() if not isinstance(answer, RemotefsError)]
    if as_json:
        print_object({"count": sum(counts), "errors": _errors(answers)})
    elif counts:
        notify(f"{sum(counts):,} changes are tried again; `remotefs status` shows the result")
    _print_failures(answers)
    _fail_if_any(answers.values())


def flush(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="PATH", help="Files or folders. Default: every remotefs mount."),
    ] = None,
    *,
    timeout: Annotated[
        float,
        typer.Option(
            parser=time_of,
            metavar="TIME",
            show_default=False,
            help="How long to wait for each path, such as 30s or 1h. Default: 5m.",
        ),
    ] = 300.0,
    as_json: JsonChoice = False,
) -> None:
    """Wait until the service has what was written.

    The exit status is 3 when changes are left. They are printed with the reason, and the mount goes on with them.
    """
    answers = dict(_ask_each(paths, lambda found: _flush_at(found, timeout)))
    _print_failures(answers)
    results = [answer for answer in answers.values() if not isinstance(answer, RemotefsError)]
    left = sum(result.left for result in results)
    leftovers = [leftover for result in results for leftover in result.leftovers]
    if as_json:
        print_object({"left": left, "leftovers": leftovers, "errors": _errors(answers)})
    elif left:
        _print_leftovers(left, leftovers)
    if left:
        raise typer.Exit(EXIT_WORK_LEFT)
    _fail_if_any(answers.values())


def _ask_status(paths: Sequence[Path] | None, timeout_s: float) -> Iterator[tuple[Path, Status | RemotefsError]]:
    return ask_mounts(paths, STATUS, lambda _: Nothing(), timeout_s=timeout_s)


def _flush_at(found: FoundMount, timeout_s: float) -> DrainResult:
    with progress_shown("flushing") as report:
        return found.control.call(
            FLUSH,
            FlushParams(path=_part(found), timeout_s=timeout_s),
            timeout_s=timeout_s + GRACE_S,
            report=report,
        )


def _part(found: FoundMount) -> str:
    """Return the path to work on. A whole mount is everything, with removals, which lie in no folder."""
    return "" if found.is_all else found.path


def _ask_each(paths: Sequence[Path] | None, ask: Callable[[FoundMount], T]) -> Iterator[tuple[Path, T | RemotefsError]]:
    """Ask the mount of each path, or every mount of this machine, one after the other, with their progress shown (H3).

    A path that was given and is wrong raises UsageError at once.
    """
    for path, find in finders_of(paths).items():
        try:
            yield path, ask(find())
        except UsageError:
            raise
        except RemotefsError as error:
            yield path, error


def _status_line(path: Path, answer: Status | RemotefsError) -> bytes:
    if isinstance(answer, RemotefsError):
        return msgspec.json.encode({"mountpoint": str(path), "error": str(answer)})
    return msgspec.json.encode(answer)


def _watch_status(paths: Sequence[Path] | None, *, as_json: bool) -> NoReturn:
    """Show each mount again every second, with its rates over the last displays."""
    earlier: defaultdict[Path, deque[Status]] = defaultdict(lambda: deque(maxlen=_RATES_OVER))
    while True:
        answers = dict(_ask_status(paths, WATCH_TIMEOUT_S))
        if not as_json and sys.stdout.isatty():
            result_console().clear()
        for index, path in enumerate(sorted(answers)):
            answer, rates = answers[path], None
            if isinstance(answer, Status):
                rates = rates_between(earlier[path][0], answer) if earlier[path] else None
                earlier[path].append(answer)
            _print_status(path, answer, index, as_json=as_json, rates=rates)
        time.sleep(WATCH_EVERY_S)


def _print_status(
    path: Path, answer: Status | RemotefsError, index: int, *, as_json: bool, rates: Rates | None = None
) -> None:
    if as_json:
        typer.echo(_status_line(path, answer))
        return
    typer.echo("\n" * bool(index), nl=False)
    if isinstance(answer, RemotefsError):
        print_table([("mount", str(path)), ("error", str(answer))], "<*")
    else:
        print_table([*status_rows(answer), *(rate_rows(rates) if rates is not None else [])], "<*")


def _print_failures(answers: Mapping[Path, object]) -> None:
    for path, answer in answers.items():
        if isinstance(answer, RemotefsError):
            notify(f"{path}: {answer}")


def _errors(answers: Mapping[Path, object]) -> list[dict[str, str]]:
    """Return the paths whose mounts could not be asked, with the errors, for JSON."""
    return [
        {"path": str(path), "error": str(answer)}
        for path, answer in answers.items()
        if isinstance(answer, RemotefsError)
    ]


def _fail_if_any(answers: Iterable[object]) -> None:
    if any(isinstance(answer, RemotefsError) for answer in answers):
        raise typer.Exit(EXIT_FAILED)


def _print_leftovers(left: int, leftovers: Sequence[Leftover]) -> None:
    for leftover in leftovers:
        notify(f"{leftover.path}: {leftover.reason}")
    notify(f"{left:,} {'changes are' if left > 1 else 'change is'} left; the mount goes on with them")
