"""The options `--config` and `--profile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from remotefs.cli.choose_mount import A_PATH
from remotefs.cli.quantities import text_of

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
        parser=text_of,
        metavar="NAME",
        help="A profile of the settings file: its key and settings. Default: REMOTEFS_PROFILE, else none.",
    ),
]
