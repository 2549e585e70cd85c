"""The options `--config` and `--profile`, and the names that complete the latter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remotefs.cli.choose_mount import A_PATH
from remotefs.errors import UsageError
from remotefs.setting_sources import default_file, profiles_of


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Return the profiles that begin with what is typed; none where the file cannot be read."""
    given = context.params.get("config_file")
    try:
        return [name for name in profiles_of(Path(given) if given else default_file()) if name.startswith(incomplete)]
    except UsageError:
        return []


ConfigChoice = Annotated[
    Path | None,
    typer.Option(
        "--config", click_type=A_PATH, metavar="FILE", help="Settings. Default: remotefs/config.toml in ~/.config."
    ),
]
ProfileChoice = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        autocompletion=_names,
        help="A profile of the settings file: its key and settings. Default: REMOTEFS_PROFILE, else none.",
    ),
]
