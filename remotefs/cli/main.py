"""The command `remotefs`: its groups of commands, and the one place where an error becomes a line and a status."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from remotefs import __version__
from remotefs.cli import inspect, mounting, probe, serve, upkeep
from remotefs.cli.console import say
from remotefs.cli.failures import exit_status, record, sentence, sole_error

DEBUG_VARIABLE = "REMOTEFS_DEBUG"


def main() -> NoReturn:
    """Run the command line and exit: 2 for wrong use, 3 when work is left, 130 when interrupted, 1 for the rest."""
    try:
        build_app()(prog_name="remotefs")
    except SystemExit:
        raise
    except BaseException as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.exit(_tell(sole_error(error)))
    sys.exit(0)


def build_app() -> typer.Typer:
    """All commands."""
    app = typer.Typer(
        name="remotefs",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=_about.__doc__,
    )
    app.callback()(_about)
    for group in (mounting, inspect, upkeep, serve, probe):
        group.register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"remotefs {__version__}")
        raise typer.Exit


def _about(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Anthropic's Files API as a directory: mount it, copy into it, read from it."""


def _tell(error: BaseException) -> int:
    record(error)
    say(sentence(error))
    return exit_status(error)
