"""`remotefs recover`: everything that a shared store has, when the machines that filled it are gone."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from msgspec.structs import replace

from remotefs.cli.choose_mount import A_PATH
from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.cli.launch.plan import load_settings
from remotefs.cli.launch.preflight import with_key
from remotefs.cli.launch.state_dirs import data_dir
from remotefs.cli.quantities import text_of
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.cli.transfer_display import Display, print_transferred
from remotefs.cli.transfer_place import BaseUrlChoice, work_in_folder
from remotefs.config import Config
from remotefs.control.lock import Holder, lock_state
from remotefs.errors import LocalError, UsageError
from remotefs.mount.settings import FuseOptions, MountSettings
from remotefs.mount.transfers.records import Transferred

# Temporary state folders, in the user's data folder: the destination may lie where no database can be trusted.
_PREFIX = "recover."


def recover(
    *,
    source: Annotated[
        str | None,
        typer.Option("--from", parser=text_of, metavar="URL", help="The store. Default: the setting `shared.store`."),
    ] = None,
    to: Annotated[
        Path, typer.Option("--to", click_type=A_PATH, metavar="DIR", help="The folder to recover to.")
    ] = Path("recovered"),
    without_service: Annotated[
        bool,
        typer.Option("--without-service", help="Do not ask the service; most files then have their id as a name."),
    ] = False,
    account: Annotated[
        str | None,
        typer.Option(
            parser=text_of,
            metavar="NAME",
            help="With --without-service: the account's folder in the store. Default: the only one.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each file, a line each.")] = False,
    base_url: BaseUrlChoice = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
) -> None:
    """Bring back all files of a shared store, without a mount.

    Needs neither a mount nor an old state folder, and changes nothing in the store or at the service. Restores modes,
    times, extended attributes, links and empty folders; owners too if root calls it. Every byte is checked. Nothing is
    overwritten; a second run skips the files that are complete and goes on with the others. The exit status is 3 when
    files are missing or damaged, which are named.
    """
    if account is not None and not without_service:
        raise UsageError("--account chooses a folder of the store; it needs --without-service")
    flags = {"service": {"base_url": base_url}, "shared": {"store": source}}
    config = load_settings(os.environ, config_file, flags, profile=profile)
    if not config.shared.store:
        raise UsageError("recover needs the address of the store: give --from, or set `shared.store`")
    with Display() as display:
        done = _recover(config, to.absolute(), display, without_service=without_service, account=account)
    print_transferred(done, as_json=as_json, next_one="", failed_status=EXIT_WORK_LEFT)


def _recover(
    config: Config, destination: Path, display: Display, *, without_service: bool, account: str | None
) -> list[Transferred]:
    from remotefs.mount.recover.session import RecoverRequest, recover  # noqa: PLC0415 - loads all of a mount

    if not without_service:
        config = replace(config, service=with_key(config.service))
    data_dir().mkdir(parents=True, exist_ok=True, mode=0o700)
    _remove_left_over()
    request = RecoverRequest(destination, without_service, account)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=data_dir()) as folder:
        settings = MountSettings(Path(folder), Path(folder), config, FuseOptions())
        return work_in_folder(settings, partial(recover, request, settings, display.report, display.stage))


def _remove_left_over() -> None:
    """Remove the folders of runs that were killed; one that is in use is locked."""
    for folder in data_dir().glob(f"{_PREFIX}*"):
        with suppress(LocalError, OSError), lock_state(folder, Holder.here("nowhere, by `remotefs recover`")):
            shutil.rmtree(folder)
