"""The help of the command `remotefs` itself, and the answer to a word that is not a command: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

_NEAR = 0.6
_NAMES_SHOWN = 2
_END = """\
Options:
  -h, --help     Show this message, or that of a command.
  -V, --version  Print the version.

Exit status: 0 success; 1 failure; 2 wrong use or a wrong setting; 3 changes
are left, which go on by themselves; 130 interrupted.

The key comes from ANTHROPIC_API_KEY (or ANTHROPIC_AUTH_TOKEN), the address of
the service from ANTHROPIC_BASE_URL, settings from REMOTEFS_<SECTION>_<SETTING>
and from ~/.config/remotefs/config.toml: see remotefs.toml(5).
REMOTEFS_DEBUG=1 shows where an error comes from.
"""


class Summarized(Protocol):
    """A command with a line about it."""

    @property
    def summary(self) -> str:
        """Return the line."""


def root_help(about: str, sections: Mapping[str, Mapping[str, Summarized]]) -> str:
    """Return the help: commands by section with a line for each, the options, and the exit statuses."""
    width = max(len(name) for commands in sections.values() for name in commands)
    text = f"Usage: remotefs COMMAND [ARGUMENTS]...\n\n{about}\n"
    for title, commands in sections.items():
        text += f"\n{title}:\n"
        text += "".join(f"  {name:{width}}  {command.summary}\n" for name, command in commands.items())
    return f"{text}\n{_END}"


def unknown_word(word: str, commands: Iterable[str], options: Iterable[str]) -> str:
    """Return the line for a first word that is neither a command nor an option."""
    what, known = ("option", options) if word.startswith("-") else ("command", commands)
    shown = word if word.isprintable() else ascii(word)
    return f"remotefs: there is no {what} {shown}{did_you_mean(word, known)} (`remotefs --help` lists them all)\n"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known words that are most like `word`, after a semicolon; empty where none is."""
    import difflib  # noqa: PLC0415 - takes as long to load as all the rest of the help

    found = difflib.get_close_matches(word.lower(), list(known), n=_NAMES_SHOWN, cutoff=_NEAR)
    return f"; did you mean {' or '.join(found)}?" if found else ""
