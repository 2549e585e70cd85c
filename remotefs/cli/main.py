"""The command `remotefs`: loads the command that is called, and turns its error into a line and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn, cast

import typer

from remotefs import __version__
from remotefs.cli.console import notify, printable
from remotefs.cli.exit_status import EXIT_FAILED, exit_status, record, sentence, sole_error

# The class of all wrong use of the command line: typer does not export it, and releases have it in different packages.
_WRONG_USE = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])
DEBUG_VARIABLE = "REMOTEFS_DEBUG"
# Each command with its module and its function (or its group of commands) there, in the order of --help. Only the
# module of the called command is loaded: some need all of a mount, most need next to nothing and answer at once.
COMMANDS = {
    "mount": ("mount", "mount"),
    "umount": ("mount", "umount"),
    "status": ("status", "status"),
    "flush": ("status", "flush"),
    "retry": ("status", "retry"),
    "put": ("put", "put"),
    "get": ("get", "get"),
    "id": ("paths", "identify"),
    "path": ("paths", "path_of"),
    "ls": ("ls", "ls"),
    "warm": ("cache", "warm"),
    "pin": ("cache", "pin"),
    "unpin": ("cache", "unpin"),
    "cache": ("cache", "cache"),
    "export": ("check", "export"),
    "backup": ("check", "backup"),
    "check": ("check", "check"),
    "log": ("log", "log"),
    "trash": ("trash", "trash"),
    "accept-removals": ("trash", "accept_removals"),
    "accept-account": ("account", "accept_account"),
    "sync": ("sync", "sync"),
    "retype": ("retype", "retype"),
    "dedupe": ("dedupe", "dedupe"),
    "serve": ("serve", "serve"),
    "generate": ("serve", "generate"),
    "probe": ("probe", "probe"),
}


def main() -> NoReturn:
    """Run the command line and exit: 2 for wrong use, 3 when work is left, 130 when interrupted, 1 for the rest."""
    try:
        sys.exit(build_app(_wanted(sys.argv[1:]))(prog_name="remotefs", standalone_mode=False))
    except SystemExit:
        raise
    except _WRONG_USE as error:
        # It may quote a file's name, which a pattern of the shell has put there.
        error.message = "\n".join(map(printable, error.message.split("\n")))
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        notify("aborted")
        sys.exit(EXIT_FAILED)
    except BaseException as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        sys.exit(_report_error(sole_error(error)))


def build_app(names: Sequence[str] = tuple(COMMANDS)) -> typer.Typer:
    """Return an app with the commands of these names."""
    app = typer.Typer(
        name="remotefs",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help=_about.__doc__,
    )
    app.callback()(_about)
    for name in names:
        module, attribute = COMMANDS[name]
        command = getattr(importlib.import_module(f"remotefs.cli.commands.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def _wanted(arguments: Sequence[str]) -> Sequence[str]:
    """Return the command that is called; all of them where none is called, or an unknown one."""
    called = next((word for word in arguments if not word.startswith("-")), None)
    return (called,) if called in COMMANDS else tuple(COMMANDS)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"remotefs {__version__}")
        raise typer.Exit


def _about(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Anthropic's Files API as a directory: mount it, copy into it, read from it."""


def _report_error(error: BaseException) -> int:
    record(error)
    notify(sentence(error))
    return exit_status(error)
