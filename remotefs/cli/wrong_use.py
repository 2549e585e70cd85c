"""Turns what typer says about wrong use into one line: which word, which value, and what may stand there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, cast

import typer

from remotefs.cli.console import notify, printable
from remotefs.cli.exit_status import EXIT_FAILED, EXIT_USAGE
from remotefs.cli.root_help import did_you_mean

# The class of all wrong use of the command line: typer does not export it, and releases have it in different packages.
_WRONG_USE = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])


@dataclass(frozen=True)
class WrongUse:
    """What to print about wrong use, as a line or as the whole help of a group, and how to exit."""

    text: str
    is_line: bool = True
    status: int = EXIT_USAGE

    def show(self) -> int:
        """Print it on stderr; return the exit status."""
        if self.is_line:
            notify(self.text)
        else:
            sys.stderr.write(f"{self.text}\n")
        return self.status


def as_wrong_use(error: BaseException) -> WrongUse | None:
    """Return what to print for an error of the command line's reader; None where it is another error."""
    if isinstance(error, typer.Abort):
        return WrongUse("aborted", status=EXIT_FAILED)
    if not isinstance(error, _WRONG_USE):
        return None
    if type(error).__name__ == "NoArgsIsHelpError":
        return WrongUse(error.message, is_line=False)
    # It may quote a file's name, which a pattern of the shell has put there.
    return WrongUse(" ".join(map(printable, _sentence(error).split("\n"))))


def _sentence(error: Any) -> str:
    """Return the sentence. The errors have no type that all releases of typer share."""
    called = error.ctx.command_path if error.ctx is not None else "remotefs"
    see = f"(`{called} --help` says more)"
    command = called.removeprefix("remotefs ")
    match type(error).__name__:
        case "NoSuchOption":
            known = [option for param in error.ctx.command.params for option in (*param.opts, *param.secondary_opts)]
            return f"{command}: there is no option {error.option_name}{did_you_mean(error.option_name, known)} {see}"
        case "MissingParameter":
            return f"{command}: {_place(error)} is missing {see}"
        case "BadOptionUsage":
            return f"{error.option_name}: {'a value is missing' if 'requires' in error.message else error.message}"
        case "BadParameter":
            return f"{_place(error)}: {_bad_value(error)}"
    message = error.format_message().rstrip(".")
    # A group of commands, such as `remotefs cache`.
    if message.startswith("No such command"):
        word = message.split("'")[1]
        return f"{command}: there is no command {word}{did_you_mean(word, error.ctx.command.commands)} {see}"
    return f"{command}: {message[:1].lower()}{message[1:]} {see}"


def _place(error: Any) -> str:
    """Return the option or the argument that the error is about."""
    if isinstance(error.param_hint, str):
        return str(error.param_hint)
    if error.param is None:
        return "the command line"
    if error.param.param_type_name == "option":
        return str(max(error.param.opts, key=len))
    return str(error.param.metavar or error.param.human_readable_name)


def _bad_value(error: Any) -> str:
    """Return what is wrong with a value. typer's own sentences tell a choice; ours tell all there is."""
    message: str = error.message.rstrip(".")
    choices = getattr(error.param.type, "choices", None) if error.param is not None else None
    if choices and message.startswith("'"):
        given = message.split("'")[1]
        return f"'{given}' is not valid: give one of {', '.join(map(str, choices))}{did_you_mean(given, choices)}"
    return message
