"""Begins a mount: checks what can be known before a start, then starts its process in the background."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from remotefs.cli.console import Notify
from remotefs.cli.launch.plan import MountArgs, MountPlan
from remotefs.cli.launch.preflight import (
    check_apart,
    check_fuse,
    check_key,
    check_others_allowed,
    raise_open_files,
    ready_mountpoint,
)
from remotefs.cli.launch.startup import StartupLine, start_in_background
from remotefs.cli.launch.state_dirs import prepare_state_dir


def checked(plan: MountPlan, typed: Path, notify: Notify) -> MountPlan:
    """Return the plan with its mountpoint ready to be mounted on; `notify` gets warnings.

    Raises RemotefsError for everything that can be known before a start.
    """
    if plan.local_root is None:
        check_key(plan.config.service)
    mountpoint = ready_mountpoint(typed, notify)
    check_fuse()
    raise_open_files()
    if plan.options.lets_others_in:
        check_others_allowed()
    for folder, what in ((plan.state_dir, "the state folder"), (plan.local_root, "the local server's folder")):
        if folder is not None:
            check_apart(mountpoint, folder, what)
    if plan.state_dir is not None and (warning := prepare_state_dir(plan.state_dir)):
        notify(warning)
    return replace(plan, mountpoint=mountpoint)


def start(args: MountArgs, show: Notify, notify: Notify) -> StartupLine:
    """Start the mount and return the last word of its process: that it is ready, or an error with its exit status.

    Progress goes to `show`, notices to `notify`.
    """
    return start_in_background([sys.executable, "-m", "remotefs.cli.launch.background", args.encode()], show, notify)
