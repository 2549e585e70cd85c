"""What the commands take, as plain records: for completion, the man pages and the reference.

It is read from the commands themselves, so that no page and no shell knows another command line than the one there is.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer.main

from remotefs.cli.main import COMMANDS, SECTIONS, build_app
from remotefs.cli.plain_command import usage_word


@dataclass(frozen=True)
class Option:
    """An option: its names, the longest last; `metavar` is empty for a flag. `negative` is its `--no-…`."""

    names: tuple[str, ...]
    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    is_required: bool = False
    negative: str = ""

    @property
    def shown(self) -> str:
        """Return the option as a page shows it: `-f, --foreground`, `--timeout TIME`."""
        names = ", ".join([*self.names, *([self.negative] if self.negative else [])])
        return f"{names} {self.metavar}" if self.metavar else names


@dataclass(frozen=True)
class Argument:
    """An argument: the word that stands for it, as the usage line has it."""

    metavar: str
    help: str
    usage: str
    takes_many: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandSpec:
    """A command, or a group of commands: the words that call it, and what it takes."""

    words: tuple[str, ...]
    help: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[Option, ...] = ()
    commands: tuple[CommandSpec, ...] = ()

    @property
    def summary(self) -> str:
        """Return the first sentence of the help, without its full stop."""
        first = self.help.split("\n\n")[0].replace("\n", " ")
        return first.split(". ")[0].rstrip(".")

    @property
    def paragraphs(self) -> list[str]:
        """Return the paragraphs of the help, each on one line."""
        return [" ".join(paragraph.split()) for paragraph in self.help.split("\n\n") if paragraph.strip()]

    @property
    def usage(self) -> str:
        """Return the usage line."""
        words = [argument.usage for argument in self.arguments] if not self.commands else ["COMMAND"]
        return " ".join(["remotefs", *self.words, "[OPTIONS]", *words])


def all_commands() -> tuple[CommandSpec, ...]:
    """Return all commands in the order of --help; loads all of them."""
    group: Any = typer.main.get_command(build_app())
    return tuple(_spec((name,), group.commands[name]) for name in COMMANDS)


def leaves(commands: Sequence[CommandSpec]) -> Iterator[CommandSpec]:
    """Yield the commands, and those in groups instead of their groups."""
    for command in commands:
        yield from leaves(command.commands) if command.commands else (command,)


def sections() -> dict[str, tuple[str, ...]]:
    """Return the names of the commands by section, as --help has them."""
    return {title: tuple(commands) for title, commands in SECTIONS.items()}


def _spec(words: tuple[str, ...], command: Any) -> CommandSpec:
    inner = getattr(command, "commands", {})
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    return CommandSpec(
        words,
        inspect.cleandoc(command.help or ""),
        tuple(map(_argument, arguments)),
        (*map(_option, options), Option(("-h", "--help"), "", "Show the help and exit.")),
        tuple(_spec((*words, name), one) for name, one in inner.items()),
    )


def _argument(argument: Any) -> Argument:
    metavar = str(argument.metavar or argument.human_readable_name.upper())
    return Argument(metavar, argument.help or "", usage_word(argument), argument.nargs != 1, _choices(argument))


def _option(option: Any) -> Option:
    choices = _choices(option)
    metavar = "" if option.is_flag else str(option.metavar or "|".join(choices) or "VALUE")
    return Option(
        tuple(sorted(option.opts, key=len)),
        metavar,
        option.help or "",
        choices,
        is_required=bool(option.required),
        negative=option.secondary_opts[0] if option.secondary_opts else "",
    )


def _choices(parameter: Any) -> tuple[str, ...]:
    return tuple(map(str, getattr(parameter.type, "choices", None) or ()))
