"""`remotefs mount` and `remotefs umount`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from remotefs.cli.choose_mount import A_PATH, IN_A_MOUNT
from remotefs.cli.console import notify, notify_with_output, progress_shown
from remotefs.cli.exit_status import EXIT_WORK_LEFT
from remotefs.cli.launch.begin import checked, start
from remotefs.cli.launch.mount_options import parse_options
from remotefs.cli.launch.plan import MountArgs, MountPlan, absolute, load_settings
from remotefs.cli.launch.remount import remount
from remotefs.cli.launch.unmount import unmount
from remotefs.cli.launch.unmount_all import mounts_of, unmount_all
from remotefs.cli.quantities import listen_of, rate_of, time_of
from remotefs.cli.settings_choice import ConfigChoice, ProfileChoice
from remotefs.config import Durability, LogFormat, LogLevel
from remotefs.control.messages.base import Notice
from remotefs.control.mounts import read_mounts
from remotefs.errors import UsageError

_Foreground = Annotated[
    bool, typer.Option("--foreground", "-f", help="Run in the foreground and log to the terminal; Ctrl-C unmounts.")
]
_Local = Annotated[
    bool, typer.Option("--local", help="Use a local server that starts and stops with the mount; needs no key.")
]
_LocalRoot = Annotated[
    Path | None,
    typer.Option(
        click_type=A_PATH,
        metavar="DIR",
        help="With --local: where that server keeps its files. Default: in the user's data folder.",
    ),
]
_StateDir = Annotated[
    Path | None,
    typer.Option(
        click_type=A_PATH,
        metavar="DIR",
        help="Where the tree, pending changes and content are kept. Default: in the user's data folder, one for each "
        "account.",
    ),
]
_BaseUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The service, without /v1. Default: ANTHROPIC_BASE_URL, else the vendor's."),
]
_Durability = Annotated[
    Durability | None,
    typer.Option(
        help="When close() returns. remote: once the service has the file, 10 s at most; local: once it is on this "
        "disk; strict: as remote, but an error after 10 s."
    ),
]
_UploadRate = Annotated[
    int | None,
    typer.Option(
        parser=rate_of, metavar="RATE", help="Upload at most this many bytes a second, such as 10M; 0: no limit."
    ),
]
_DownloadRate = Annotated[
    int | None,
    typer.Option(parser=rate_of, metavar="RATE", help="Download at most this many bytes a second, such as 10M."),
]
_LogLevel = Annotated[LogLevel | None, typer.Option(help="The least severe messages that the log has. Default: info.")]
_LogFormat = Annotated[
    LogFormat | None,
    typer.Option(
        help="plain lines, a JSON object a line, or the journal (and plain lines in the file). Default: plain."
    ),
]
_Metrics = Annotated[
    str | None,
    typer.Option(
        parser=listen_of, metavar="LISTEN", help="Serve metrics for Prometheus at unix:PATH or 127.0.0.1:PORT."
    ),
]
_SharedStore = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Share the bytes of uploads with other machines there, such as s3://bucket/folder or file:///folder.",
    ),
]
_Options = Annotated[
    list[str] | None, typer.Option("-o", metavar="OPTION,...", help="Mount options, as mount(8) writes them.")
]


def mount(
    mountpoint: Annotated[Path, typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="An empty folder.")],
    *,
    foreground: _Foreground = False,
    local: _Local = False,
    local_root: _LocalRoot = None,
    state_dir: _StateDir = None,
    base_url: _BaseUrl = None,
    durability: _Durability = None,
    upload_rate: _UploadRate = None,
    download_rate: _DownloadRate = None,
    log_level: _LogLevel = None,
    log_format: _LogFormat = None,
    metrics: _Metrics = None,
    shared_store: _SharedStore = None,
    options: _Options = None,
    config_file: ConfigChoice = None,
    profile: ProfileChoice = None,
) -> None:
    """Mount the files of an account on a folder.

    Returns once the mount answers, or with what went wrong. The key comes from ANTHROPIC_API_KEY (or
    ANTHROPIC_AUTH_TOKEN), or from a file or a command that the settings name.
    """
    args = MountArgs(
        mountpoint=absolute(mountpoint) or "",
        local=local,
        local_root=absolute(local_root),
        state_dir=absolute(state_dir),
        base_url=base_url,
        durability=durability,
        upload_rate=upload_rate,
        download_rate=download_rate,
        log_level=log_level,
        log_format=log_format,
        metrics=metrics,
        shared_store=shared_store,
        options=tuple(options or ()),
        config_file=absolute(config_file),
        profile=profile,
    ).with_words()
    if (flags := parse_options(args.options).remount) is not None:
        remount(mountpoint, flags)
        return
    plan = checked(args.plan(os.environ, notify), mountpoint, notify)
    if foreground:
        _mount_in_foreground(plan)
    _mount_in_background(msgspec.structs.replace(args, mountpoint=str(plan.mountpoint)))


def umount(
    mountpoint: Annotated[
        Path | None,
        typer.Argument(click_type=IN_A_MOUNT, metavar="MOUNTPOINT", help="The folder that it is mounted on."),
    ] = None,
    *,
    all_of_them: Annotated[
        bool, typer.Option("--all", "-a", help="Unmount every remotefs mount of yours; as root, everybody's.")
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            parser=time_of,
            metavar="TIME",
            help="How long to wait for pending changes to reach the service, such as 30s or 5m. Default: the setting "
            "umount_drain_s, 60 s.",
        ),
    ] = None,
) -> None:
    """Bring pending changes to the service, then unmount.

    Changes that do not reach the service in time are kept and go on with the next mount. The exit status is 3 then.
    """
    if (mountpoint is None) != all_of_them:
        raise UsageError("say which mount to end: MOUNTPOINT, or --all for all of yours")
    timeout_s = load_settings(os.environ, None, {}).mount.umount_drain_s if timeout is None else timeout
    if mountpoint is not None:
        _unmount_one(mountpoint, timeout_s)
        return
    mounts = mounts_of(os.geteuid(), read_mounts())
    if not mounts:
        notify("nothing is mounted")
    raise typer.Exit(unmount_all(mounts, timeout_s, notify))


def _unmount_one(mountpoint: Path, timeout_s: float) -> None:
    with progress_shown(f"unmounting {mountpoint}") as report:
        result = unmount(mountpoint, timeout_s, report=report, notify=notify)
    if result.left:
        for leftover in result.leftovers:
            notify(f"{leftover.path}: {leftover.reason}")
        notify(
            f"unmounted {mountpoint} with {result.left:,} changes left; nothing is lost, the next mount resumes them"
        )
        raise typer.Exit(EXIT_WORK_LEFT)


def _mount_in_foreground(plan: MountPlan) -> NoReturn:
    from remotefs.cli.launch.process import run_in_foreground  # noqa: PLC0415 - loads all of a mount

    raise typer.Exit(run_in_foreground(plan, os.environ))


def _mount_in_background(args: MountArgs) -> None:
    with progress_shown(f"mounting {args.mountpoint}") as report:
        last = start(args, lambda text: report(Notice(text=text)), notify)
    if last.error is not None:
        notify_with_output(last.error)
        raise typer.Exit(last.exit)
    notify(f"mounted at {args.mountpoint}; `remotefs umount {shlex.quote(args.mountpoint)}` ends it")
