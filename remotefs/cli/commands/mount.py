"""`remotefs mount` and `remotefs umount`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from remotefs.cli.console import describe, progress_shown, say
from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.cli.launch.preflight import check_apart, check_fuse, check_key, check_others_allowed, ready_mountpoint
from remotefs.cli.launch.request import MountArgs, MountPlan, absolute, load_settings
from remotefs.cli.launch.startup import start_in_background
from remotefs.cli.launch.state_dirs import prepare_state_dir
from remotefs.cli.launch.unmount import unmount
from remotefs.config import Durability


def mount(
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="An empty folder.")],
    *,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay, log to the terminal too; Ctrl-C unmounts.")
    ] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Use a local server, started and stopped with the mount; needs no key.")
    ] = False,
    local_root: Annotated[
        Path | None,
        typer.Option(help="With --local: where that server keeps its files. Default: in the user's data folder."),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the tree, pending changes and content are kept. Default: in the user's data folder, one for "
            "each account."
        ),
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The service, without /v1. Default: ANTHROPIC_BASE_URL, else the vendor's.")
    ] = None,
    durability: Annotated[
        Durability | None,
        typer.Option(
            help="When close() returns. remote: once the service has the file, 10 s at most; local: once it is on "
            "this disk; strict: as remote, but an error after 10 s."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("-o", metavar="ro,allow_other,...", help="Mount options, as mount(8) writes them."),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="Settings. Default: remotefs/config.toml in ~/.config."),
    ] = None,
) -> None:
    """Mount the files of an account on a folder.

    Returns when the mount answers, or with what went wrong. The key comes from ANTHROPIC_API_KEY (or
    ANTHROPIC_AUTH_TOKEN).
    """
    order = MountArgs(
        mountpoint=absolute(mountpoint) or "",
        local=local,
        local_root=absolute(local_root),
        state_dir=absolute(state_dir),
        base_url=base_url,
        durability=durability,
        options=tuple(options or ()),
        config_file=absolute(config_file),
    )
    ready = _checked(order.plan(os.environ), mountpoint)
    if foreground:
        from remotefs.cli.launch.process import TerminalReporter, run_process  # noqa: PLC0415 - loads all of a mount

        raise typer.Exit(run_process(ready, TerminalReporter()))
    _mount_in_background(msgspec.structs.replace(order, mountpoint=str(ready.mountpoint)))


def umount(
    mountpoint: Annotated[Path, typer.Argument(metavar="MOUNTPOINT", help="Where it is mounted.")],
    *,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Seconds to wait for pending changes to reach the service. Default: the setting umount_drain_s, 60.",
        ),
    ] = None,
) -> None:
    """Bring pending changes to the service, then unmount.

    What the service does not get in time is kept and goes on with the next mount; the exit status is 3 then.
    """
    timeout_s = load_settings(os.environ, None, {}).mount.umount_drain_s if timeout is None else timeout
    with progress_shown(f"unmounting {mountpoint}") as show:
        result = unmount(mountpoint, timeout_s, report=lambda progress: show(describe(progress)), notify=say)
    if result.left:
        for leftover in result.leftovers:
            say(f"{leftover.path}: {leftover.reason}")
        say(f"unmounted {mountpoint} with {result.left:,} changes left; nothing is lost, the next mount resumes them")
        raise typer.Exit(EXIT_WORK_LEFT)


def _checked(request: MountPlan, typed: Path) -> MountPlan:
    """The request with its mountpoint made fit. Raises RemotefsError for what can be known before a start."""
    if request.local_root is None:
        check_key(request.config.service)
    mountpoint = ready_mountpoint(typed, say)
    check_fuse()
    if request.options.lets_others_in:
        check_others_allowed()
    for folder, what in ((request.state_dir, "the state folder"), (request.local_root, "the local server's folder")):
        if folder is not None:
            check_apart(mountpoint, folder, what)
    if request.state_dir is not None and (warning := prepare_state_dir(request.state_dir)):
        say(warning)
    return replace(request, mountpoint=mountpoint)


def _mount_in_background(order: MountArgs) -> None:
    with progress_shown(f"mounting {order.mountpoint}") as show:
        last = start_in_background([sys.executable, "-m", "remotefs.cli.launch.background", order.encode()], show, say)
    if last.error is not None:
        say(last.error)
        raise typer.Exit(last.exit)
    say(f"mounted at {order.mountpoint}; `remotefs umount {shlex.quote(order.mountpoint)}` ends it")
