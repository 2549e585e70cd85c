"""`remotefs mount` and `remotefs umount`."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import trio
import typer

from remotefs import config as settings
from remotefs.cli.console import describe, progress_shown, say
from remotefs.cli.failures import EXIT_WORK_LEFT, exit_status, record, sentence, sole_error
from remotefs.cli.foreground import Audience, MountRequest, Parent, Terminal, serve_mount
from remotefs.cli.options import format_options, parse_options
from remotefs.cli.preflight import check_apart, check_fuse, check_key, check_others_allowed, ready_mountpoint
from remotefs.cli.startup import ReadyPipe, StartupLine, start_in_background
from remotefs.cli.state_dirs import data_dir, prepare_state_dir
from remotefs.cli.unmounting import unmount
from remotefs.config import Config, Durability
from remotefs.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("mount")(mount)
    app.command("umount")(umount)


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
    ready_fd: Annotated[
        int | None, typer.Option(hidden=True, help="A descriptor that is told when the mount answers.")
    ] = None,
) -> None:
    """Mount the files of an account on a folder.

    Returns when the mount answers, or with what went wrong. The key comes from ANTHROPIC_API_KEY (or
    ANTHROPIC_AUTH_TOKEN).
    """
    with _audience(ready_fd) as audience:
        flags: dict[str, dict[str, Any]] = {"service": {"base_url": base_url}, "writeback": {"durability": durability}}
        if local and base_url is not None:
            raise UsageError("--local and --base-url exclude each other: the local server has its own address")
        if local_root is not None and not local:
            raise UsageError("--local-root says where the local server keeps its files; it needs --local")
        request = MountRequest(
            mountpoint=mountpoint,
            config=_load(config_file, flags),
            options=parse_options(options or []),
            local_root=(local_root or data_dir() / "local").absolute() if local else None,
            state_dir=state_dir.absolute() if state_dir else None,
        )
        request = _checked(request)
        if foreground or ready_fd is not None:
            os.umask(0o077)
            # The key is in this process' memory, and so it would be in its core (A6).
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            raise typer.Exit(trio.run(serve_mount, request, audience))
        _mount_in_background(request, base_url, durability, config_file)


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
    timeout_s = _load(None, {}).mount.umount_drain_s if timeout is None else timeout
    with progress_shown(f"unmounting {mountpoint}") as show:
        result = unmount(mountpoint, timeout_s, report=lambda progress: show(describe(progress)), notify=say)
    if result.left:
        for leftover in result.leftovers:
            say(f"{leftover.path}: {leftover.reason}")
        say(f"unmounted {mountpoint} with {result.left:,} changes left; nothing is lost, the next mount resumes them")
        raise typer.Exit(EXIT_WORK_LEFT)


@contextlib.contextmanager
def _audience(ready_fd: int | None) -> Iterator[Audience]:
    """Who is told; a parent hears of whatever ends the start, too."""
    if ready_fd is None:
        yield Terminal()
        return
    pipe = ReadyPipe(ready_fd)
    try:
        yield Parent(pipe)
    except typer.Exit:
        raise
    except BaseException as error:
        # The parent says it; this process has nobody to say it to, but its log.
        cause = sole_error(error)
        record(cause)
        pipe.write(StartupLine(error=sentence(cause), exit=exit_status(cause)))
        raise typer.Exit(exit_status(cause)) from error


def _load(file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> Config:
    if file is not None and not file.is_file():
        raise UsageError(f"--config {file}: there is no such file")
    return settings.load(os.environ, file or settings.default_file(), flags)


def _checked(request: MountRequest) -> MountRequest:
    """The request with its mountpoint made fit. Raises RemotefsError for what can be known before a start."""
    if request.local_root is None:
        check_key(request.config.service)
    mountpoint = ready_mountpoint(request.mountpoint, say)
    check_fuse()
    if request.options.lets_others_in:
        check_others_allowed()
    for folder, what in ((request.state_dir, "the state folder"), (request.local_root, "the local server's folder")):
        if folder is not None:
            check_apart(mountpoint, folder, what)
    if request.state_dir is not None and (warning := prepare_state_dir(request.state_dir)):
        say(warning)
    return MountRequest(mountpoint, request.config, request.options, request.local_root, request.state_dir)


def _mount_in_background(
    request: MountRequest, base_url: str | None, durability: str | None, config_file: Path | None
) -> None:
    named = {
        "--local-root": request.local_root,
        "--state-dir": request.state_dir,
        "--base-url": base_url,
        "--durability": durability,
        "-o": format_options(request.options) or None,
        "--config": config_file.absolute() if config_file else None,
    }
    command = [sys.executable, "-m", "remotefs", "mount", str(request.mountpoint)]
    command += ["--local"] if request.local_root else []
    for name, value in named.items():
        command += [name, str(value)] if value is not None else []
    with progress_shown(f"mounting {request.mountpoint}") as show:
        last = start_in_background(command, show)
    if last.error is not None:
        say(last.error)
        raise typer.Exit(last.exit)
    say(f"mounted at {request.mountpoint}; `remotefs umount {shlex.quote(str(request.mountpoint))}` ends it")
