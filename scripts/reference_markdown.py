"""docs/cli.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from remotefs.cli.spec import CommandSpec, leaves

_HEAD = """\
# Command line

This page is generated from the commands themselves (`make reference`); it has what their `--help` has. The man pages in
`docs/man` have the same. [Configuration](configuration.md#commands) explains each command at more length, and has the
settings.

Every command takes `-h` and `--help`. The exit status is 0 on success; 1 for a failure; 2 for wrong use or a wrong
setting; 3 when changes are left that the service does not have yet, which go on by themselves; 130 when interrupted.

"""


def cli_document(commands: Sequence[CommandSpec], sections: Mapping[str, Sequence[str]]) -> str:
    """Return the document."""
    by_name = {command.words[0]: command for command in commands}
    parts = [_HEAD]
    for title, names in sections.items():
        parts.append(f"## {title}\n\n")
        parts += [part for name in names for command in leaves([by_name[name]]) for part in _command(command)]
    return "".join(parts).rstrip("\n") + "\n"


def _command(command: CommandSpec) -> Iterator[str]:
    yield f"### remotefs {' '.join(command.words)}\n\n```\n{command.usage}\n```\n\n"
    yield "".join(f"{paragraph}\n\n" for paragraph in command.paragraphs)
    rows = [(f"`{_cell(argument.usage)}`", argument.help) for argument in command.arguments]
    rows += [
        (f"`{_cell(option.shown)}`", option.help + " Required." * option.is_required) for option in command.options
    ]
    yield "| argument, option | |\n|---|---|\n"
    yield "".join(f"| {name} | {_cell(text)} |\n" for name, text in rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
