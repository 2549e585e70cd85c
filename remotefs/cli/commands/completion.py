"""`remotefs completion`: the completion script of a shell."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from remotefs.cli.completion.bash import bash_script
from remotefs.cli.completion.fish import fish_script
from remotefs.cli.completion.zsh import zsh_script

_SCRIPTS = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion script of a shell.

    bash: write it to ~/.local/share/bash-completion/completions/remotefs. zsh: to a file _remotefs in a folder of
    $fpath. fish: to ~/.config/fish/completions/remotefs.fish. Or read it in at once: `. <(remotefs completion bash)`.

    The script calls nothing of remotefs, and it touches no mount: mountpoints come from the kernel's table.
    """
    from remotefs.cli.spec import all_commands  # noqa: PLC0415 - loads all commands

    typer.echo(_SCRIPTS[shell](all_commands()), nl=False)
