"""A command whose usage line is written as those of other programs: `remotefs umount [OPTIONS] MOUNTPOINT`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand

# The parameter that takes the program which a command runs, and its arguments.
PROGRAM = "program"


class PlainCommand(TyperCommand):
    """A command; releases of typer write the words of its usage line in different ways."""

    # The class of the context has different packages in releases of typer.
    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """Return the words after the name of the command."""
        return ["[OPTIONS]", *(usage_word(param) for param in self.params if param.param_type_name == "argument")]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; all that follows `--` is the program of a command that runs one."""
        if not any(param.name == PROGRAM for param in self.params):
            return super().parse_args(ctx, args)
        end = args.index("--") if "--" in args else len(args)
        rest = super().parse_args(ctx, args[:end])
        if ctx.params[PROGRAM]:
            ctx.fail(f"unexpected argument {ctx.params[PROGRAM][0]!r}: write -- before the command to run")
        ctx.params[PROGRAM] = args[end + 1 :] or None
        return rest


def usage_word(argument: Any) -> str:
    """Return the word of an argument: `PATH`, `PATH...`, in brackets where it may be left out."""
    word = str(argument.metavar or argument.human_readable_name.upper())
    # Several words, each with its own dots and brackets.
    if " " in word:
        return word
    word = word if argument.required else f"[{word}]"
    return f"{word}..." if argument.nargs != 1 else word
