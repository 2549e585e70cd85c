"""The mount's own process: from settings to a running mount, each step with its own way to fail."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from collections.abc import AsyncIterator, MutableMapping
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
import trio

from remotefs.cli.console import describe, notify
from remotefs.cli.launch.local_server import local_server
from remotefs.cli.launch.logs import MountLog, start_logging
from remotefs.cli.launch.mount_options import MountOptions
from remotefs.cli.launch.plan import MountPlan
from remotefs.cli.launch.preflight import check_apart, check_binding, check_key, with_key
from remotefs.cli.launch.startup import ReadyPipe, StartupLine, redirect_output
from remotefs.cli.launch.state_dirs import data_dir, locate_state_dir, prepare_state_dir, remember_new_key
from remotefs.config import Config
from remotefs.control.lock import Holder
from remotefs.control.messages.base import Notice, Progress, Ready
from remotefs.control.takeover import take_state
from remotefs.credentials import KeyRing
from remotefs.mount.identity import identify
from remotefs.mount.notify_socket import NotifySocket
from remotefs.mount.settings import FuseOptions, MountSettings

log = logging.getLogger(__name__)


class StartupReporter(Protocol):
    """Receives the steps of a start, for a person at a terminal or the command that started it in the background."""

    @property
    def at_terminal(self) -> bool:
        """Return whether the log goes to stderr too."""

    def logging_to(self, path: Path) -> None:
        """Note that the log is written there from now on."""

    def progress(self, progress: Progress) -> None:
        """Report a step of the start."""


class TerminalReporter:
    """The reporter of `--foreground`."""

    at_terminal = True

    def logging_to(self, path: Path) -> None:
        """Print where the log is."""
        notify(f"its log: {path}")

    def progress(self, progress: Progress) -> None:
        """Print each step as a line."""
        notify("mounted; Ctrl-C drains and unmounts" if isinstance(progress, Ready) else describe(progress))


class ManagedReporter:
    """The reporter of a mount that a service manager started: it is told, beside the terminal, which is the journal."""

    at_terminal = True
    # Each step of the start asks for this much more time.
    _EXTENSION_S = 60.0

    def __init__(self, manager: NotifySocket) -> None:
        self._manager = manager
        self._terminal = TerminalReporter()
        self._is_ready = False

    def logging_to(self, path: Path) -> None:
        """Print where the log is."""
        self._terminal.logging_to(path)

    def progress(self, progress: Progress) -> None:
        """Print each step, and tell the service manager."""
        self._terminal.progress(progress)
        if isinstance(progress, Ready):
            self._is_ready = True
            self._manager.ready()
        elif not self._is_ready:
            self._manager.status(f"starting: {describe(progress)}")
            self._manager.extend(self._EXTENSION_S)


class ParentReporter:
    """The reporter of a mount in the background."""

    at_terminal = False

    def __init__(self, pipe: ReadyPipe) -> None:
        self._pipe = pipe

    def logging_to(self, path: Path) -> None:
        """Send stderr to a file beside the log and tell the parent, which reads it if this process dies."""
        stderr = path.with_name("stderr.log")
        redirect_output(stderr)
        self._pipe.write(StartupLine(log=str(stderr)))

    def progress(self, progress: Progress) -> None:
        """Send the step to the parent, which waits until Ready."""
        match progress:
            case Ready():
                self._pipe.write(StartupLine(ready=True))
            case Notice(text=text):
                self._pipe.write(StartupLine(notice=text))
            case _:
                self._pipe.write(StartupLine(progress=describe(progress)))


def run_in_foreground(plan: MountPlan, environ: MutableMapping[str, str]) -> int:
    """Run the mount in this process, for a terminal or a service manager, and return the exit status.

    Raises as serve_mount does.
    """
    manager = NotifySocket.of(environ)
    if manager is None:
        return run_process(plan, TerminalReporter())
    return run_process(plan, ManagedReporter(manager), manager)


def run_process(plan: MountPlan, reporter: StartupReporter, manager: NotifySocket | None = None) -> int:
    """Run the mount in this process and return the exit status. Raises as serve_mount does."""
    check_binding()
    os.umask(0o077)
    # The key is in this process' memory, and so it would be in its core (A6).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return trio.run(serve_mount, plan, reporter, manager)


async def serve_mount(plan: MountPlan, reporter: StartupReporter, manager: NotifySocket | None = None) -> int:
    """Mount, serve until unmounted, drain, and return the exit status.

    Raises RemotefsError, possibly within an exception group, when it cannot mount.
    """
    async with _service(plan) as config:
        state_dir = await _state_dir(plan, config)
        check_apart(plan.mountpoint, state_dir, "the state folder")
        warning = prepare_state_dir(state_dir)
        holder = Holder(pid=os.getpid(), mountpoint=str(plan.mountpoint))
        async with take_state(state_dir, holder, wait_s=config.mount.takeover_wait_s):
            keys = KeyRing(config.service, plan.reread, partial(remember_new_key, data_dir()))
            mount_log = start_logging(
                state_dir,
                keys.secrets,
                to_stderr=reporter.at_terminal,
                config=config.log,
                mountpoint=str(plan.mountpoint),
            )
            reporter.logging_to(mount_log.path)
            if warning:
                log.warning("%s", warning)
            settings = MountSettings(plan.mountpoint, state_dir, config, _fuse_options(plan.options), keys, manager)
            return await _run(settings, reporter, mount_log)


@contextlib.asynccontextmanager
async def _service(plan: MountPlan) -> AsyncIterator[Config]:
    """Yield the settings with the service to use in them, the local one started if the plan has one."""
    if plan.local_root is None:
        # In a thread: a command that gives the key may ask a person, and Ctrl-C ends the wait.
        service = await trio.to_thread.run_sync(with_key, plan.config.service, abandon_on_cancel=True)
        yield msgspec.structs.replace(plan.config, service=service)
        return
    async with local_server(plan.local_root) as server:
        service = plan.config.service
        service = msgspec.structs.replace(
            service,
            base_url=server.url,
            api_key=server.key or service.api_key,
            auth_token=None,
            key_file=None,
            key_command=None,
            key_credential=None,
            custom_headers=(),
            # Nobody else's requests are counted there: no limit, unless one is set.
            requests_per_minute=service.requests_per_minute or 0,
        )
        check_key(service)
        yield msgspec.structs.replace(plan.config, service=service)


async def _state_dir(plan: MountPlan, config: Config) -> Path:
    if plan.state_dir is not None:
        return plan.state_dir
    # A local server is there to be asked, and its address, which changes, is nothing to remember.
    remember = plan.local_root is None
    return await locate_state_dir(data_dir(), config.service, lambda: identify(config), remember=remember)


def _fuse_options(options: MountOptions) -> FuseOptions:
    return FuseOptions(
        read_only=options.read_only,
        allow_other=options.allow_other,
        extra=options.extra,
        fsname=options.fsname or "remotefs",
        shown=options.shown,
        subdir=options.subdir,
    )


async def _run(settings: MountSettings, reporter: StartupReporter, mount_log: MountLog) -> int:
    from remotefs.mount.session import run_mount  # noqa: PLC0415 - loads pyfuse3, which the other commands do without

    return await run_mount(settings, report=reporter.progress, log=mount_log)
