"""Finds where `put` and `get` work: in the running mount of an account, or in its state folder without a mount."""

from __future__ import annotations

import os
import resource
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import trio
import typer

from remotefs.api.models import Account
from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT, all_mounts, chosen_mount
from remotefs.cli.console import notify
from remotefs.cli.launch.logs import start_logging
from remotefs.cli.launch.plan import load_settings
from remotefs.cli.launch.preflight import check_key, raise_open_files, with_key
from remotefs.cli.launch.state_dirs import account_dir, data_dir, locate_state_dir, prepare_state_dir
from remotefs.config import Config
from remotefs.control.find import FoundMount, find_mount, find_mount_at
from remotefs.control.lock import Holder
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import STATUS
from remotefs.control.mounts import mount_of, read_mounts, real_apart
from remotefs.control.takeover import take_state
from remotefs.credentials import KeyRing, has_key
from remotefs.errors import RemotefsError, UsageError
from remotefs.mount.settings import FuseOptions, MountSettings

T = TypeVar("T")
STATUS_TIMEOUT_S = 10.0

MountChoice = Annotated[
    Path | None,
    typer.Option("--mount", click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="Go through this running mount."),
]
StateDirChoice = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        click_type=A_PATH,
        metavar="DIR",
        help="The state folder to use. Default: the one of the account of the key.",
    ),
]
BaseUrlChoice = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The service, without /v1. Default: ANTHROPIC_BASE_URL, else the vendor's."),
]


def mount_around(path: Path) -> FoundMount | None:
    """Return the running mount that a path lies in, there or not; None where it lies in none. Raises as find_mount."""
    entry = mount_of(real_apart(path), read_mounts())
    return find_mount(path) if entry is not None and entry.is_remotefs else None


def choose_place(
    mount: Path | None,
    state_dir: Path | None,
    base_url: str | None,
    config_file: Path | None,
    profile: str | None = None,
) -> FoundMount | MountSettings:
    """Return the running mount to go through, or the settings of the state folder to open.

    Without a choice by hand that is the account of the key; without a key the only mount on this machine.
    Raises UsageError; RefusedError and TransportError where the service is asked for the account.
    """
    if mount is not None:
        return find_mount(mount)
    read = partial(load_settings, os.environ, config_file, {"service": {"base_url": base_url}}, profile=profile)
    config = read()
    if not has_key(config.service):
        if state_dir is None:
            return _only_mount(config)
    else:
        config = msgspec.structs.replace(config, service=with_key(config.service))
    folder = (state_dir or _folder_of_account(config)).absolute()
    running = _running_mounts(folder)
    if len(running) > 1:
        names = ", ".join(str(found.mountpoint) for found in running)
        raise UsageError(f"there are {len(running)} mounts of this account: choose one with --mount ({names})")
    if running:
        return running[0]
    check_key(config.service)
    keys = KeyRing(config.service, lambda: with_key(read(warn=_silent).service))
    return MountSettings(folder, folder, config, FuseOptions(), keys)


def _silent(_: str) -> None:
    """Take a warning that was shown at the start already."""


def work_in_folder(settings: MountSettings, work: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `work`, which opens the state folder, while its lock is held.

    Raises StateLocked while a mount uses it, StateUnusable, and what `work` raises.
    """
    # The key is in this process' memory, and so it would be in its core (A6).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise_open_files()
    if warning := prepare_state_dir(settings.state_dir):
        notify(warning)
    return trio.run(partial(_work, settings, work))


async def _work(settings: MountSettings, work: Callable[[], Awaitable[T]]) -> T:
    holder = Holder.here(f"nowhere, by a command on {settings.state_dir}")
    async with take_state(settings.state_dir, holder, wait_s=settings.config.mount.takeover_wait_s):
        keys = settings.keys or KeyRing(settings.config.service)
        start_logging(settings.state_dir, keys.secrets, to_stderr=False)
        return await work()


def _only_mount(config: Config) -> FoundMount:
    """Return the only mount on this machine, for a caller without a key. Raises UsageError where there is none."""
    if not all_mounts():
        check_key(config.service)
    return chosen_mount(None)


def _folder_of_account(config: Config) -> Path:
    from remotefs.mount.identity import identify  # noqa: PLC0415 - loads the HTTP client, which a mount has already

    return trio.run(partial(locate_state_dir, data_dir(), config.service, lambda: identify(config)))


def _running_mounts(state_dir: Path) -> list[FoundMount]:
    """Return the mounts of a state folder, or of the account whose own folder it is.

    Mounts that are dead or hang are passed over: the lock of their state folder is looked at all the same (H3).
    """
    found = []
    for mountpoint in all_mounts():
        with suppress(RemotefsError):
            running = find_mount_at(mountpoint)
            if _is_of(running, state_dir):
                found.append(running)
    return found


def _is_of(running: FoundMount, state_dir: Path) -> bool:
    if running.control.path.parent == state_dir:
        return True
    status = running.control.call(STATUS, Nothing(), timeout_s=STATUS_TIMEOUT_S)
    account = Account(status.organization, status.workspace)
    return account_dir(data_dir(), account, status.base_url) == state_dir
