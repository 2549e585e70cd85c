"""`remotefs accept-account`: binds a state folder to the new address of its account."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from remotefs.cli.choose_mount import A_PATH
from remotefs.cli.console import notify
from remotefs.cli.exit_status import EXIT_FAILED
from remotefs.cli.json_output import JsonChoice, print_object
from remotefs.cli.launch.plan import load_settings
from remotefs.cli.launch.preflight import with_key
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice

if TYPE_CHECKING:
    from remotefs.mount.ownership import Owner


def accept_account(
    *,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir", click_type=A_PATH, metavar="DIR", help="The state folder of a mount that is not running."
        ),
    ],
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The new address of the service. Default: ANTHROPIC_BASE_URL, else the vendor's."
        ),
    ] = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: JsonChoice = False,
) -> None:
    """Bind a state folder to a new address of its account.

    A state folder belongs to the account that the replies of the service name, or to the address of the service where
    they name none. Another account is refused, because the files here would be taken for deleted. If the service has
    only moved, this command shows both addresses and binds the folder to the new one. It never binds a folder to
    another account.
    """
    settings = load_settings(os.environ, config_file, {"service": {"base_url": base_url}}, profile=profile)
    settings = msgspec.structs.replace(settings, service=with_key(settings.service))
    from remotefs.mount.moving import accept_account as accept  # noqa: PLC0415 - loads all of a mount

    answered = True

    def confirm(before: Owner, after: Owner) -> bool:
        nonlocal answered
        notify(f"{state_dir} belongs to {before.describe()}")
        notify(f"now {after.describe()} answers")
        answered = yes or typer.confirm("Are these the same files?", err=True)
        return answered

    moved = accept(state_dir.absolute(), settings, confirm)
    if as_json and answered:
        print_object({"state_dir": str(state_dir), "moved": moved})
    elif moved:
        notify(f"{state_dir} belongs to it from now on")
    elif answered:
        notify(f"{state_dir} belongs to the account that answers already")
    else:
        raise typer.Exit(EXIT_FAILED)
