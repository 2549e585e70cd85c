"""Builds the groups of commands of a mount, each with the parts that it uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from remotefs.control.messages.base import Command
from remotefs.mount.assembly import Components
from remotefs.mount.commands.cache import CacheCommands, PinCommands, SoleFiles, Warmer
from remotefs.mount.commands.check import CheckCommands
from remotefs.mount.commands.dedupe import DedupeCommands
from remotefs.mount.commands.entries import Entries
from remotefs.mount.commands.get import GetCommands
from remotefs.mount.commands.limit import LimitCommands
from remotefs.mount.commands.log import LogCommands, LogControl
from remotefs.mount.commands.ls import LsCommands
from remotefs.mount.commands.mount import MountCommands
from remotefs.mount.commands.paths import PathCommands
from remotefs.mount.commands.pending import Drain, PendingReasons
from remotefs.mount.commands.put import PutCommands
from remotefs.mount.commands.retype import RetypeCommands
from remotefs.mount.commands.share import ShareCommands
from remotefs.mount.commands.status import StatusCommands, StatusReport
from remotefs.mount.commands.sync import SyncCommands
from remotefs.mount.commands.trash import TrashCommands
from remotefs.mount.commands.unshare import UnshareCommands
from remotefs.mount.commands.watch import WatchCommands
from remotefs.mount.settings import MountSettings


@dataclass(frozen=True)
class CommandGroups:
    """All commands that a mount answers."""

    mount: MountCommands
    status: StatusCommands
    paths: PathCommands
    ls: LsCommands
    pin: PinCommands
    cache: CacheCommands
    trash: TrashCommands
    sync: SyncCommands
    retype: RetypeCommands
    share: ShareCommands
    unshare: UnshareCommands
    dedupe: DedupeCommands
    check: CheckCommands
    put: PutCommands
    get: GetCommands
    log: LogCommands
    limit: LimitCommands
    watch: WatchCommands

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        groups = (
            self.mount, self.status, self.paths, self.ls, self.pin, self.cache, self.trash, self.sync, self.retype,
            self.share, self.unshare, self.dedupe, self.check, self.put, self.get, self.log, self.limit, self.watch,
        )  # fmt: skip
        return [command for group in groups for command in group.all()]


def command_groups(
    settings: MountSettings,
    parts: Components,
    *,
    stop: Callable[[], None],
    yield_state: Callable[[], bool],
    log: LogControl | None = None,
) -> CommandGroups:
    """Return the commands of a mount.

    `stop` ends the serving of the kernel before it returns; `yield_state` lets go of the state folder, if the mount
    has nothing left to do but drain, and returns whether it does. `log` is the log of this process.
    """
    store, intents, reader = parts.store, parts.intents, parts.file_reader
    reasons = PendingReasons(parts.store, intents.paths, parts.failures, parts.closer, parts.connectivity, parts.shared)
    drain = Drain(parts.store, parts.file_writer, parts.closer, parts.drainer, parts.budget, reasons)
    entries = Entries(parts.tree, parts.fs.namespace, parts.notifier)
    # Held by commands that choose which objects the shared store has.
    changing = trio.Lock()
    sole = SoleFiles(store, parts.content, intents.paths, parts.releaser)
    warmer = Warmer(parts.tree, parts.locator, reader, parts.downloader)
    mount = MountCommands(settings.mountpoint, parts.handles, drain, stop=stop, yield_state=yield_state)
    report = StatusReport(settings, parts, reasons)
    return CommandGroups(
        mount=mount,
        status=StatusCommands(report, parts.tree, drain, parts.drainer, mount.is_ending),
        paths=PathCommands(store, intents.paths, drain, parts.view),
        ls=LsCommands(
            store, parts.fs.xattrs, parts.content, parts.locator, reader, parts.view, parts.service_clock.now_ns,
        ),
        pin=PinCommands(parts.tree, intents.paths, parts.content, parts.promoter, warmer, sole, parts.releaser),
        cache=CacheCommands(
            parts.tree, parts.handles, parts.content, parts.promoter, parts.staging, parts.disk, sole, parts.releaser,
        ),
        trash=TrashCommands(store, parts.trash, parts.refresh, parts.janitor, parts.file_writer, entries),
        sync=SyncCommands(parts.tree, intents, parts.locator, reader),
        retype=RetypeCommands(store, intents, reader),
        share=ShareCommands(store, reader, parts.shared, parts.waiters, parts.promoter, reasons, changing),
        unshare=UnshareCommands(store, parts.content, parts.shared, parts.sharer, parts.promoter, reasons, changing),
        dedupe=DedupeCommands(store, intents.paths, reader, parts.refresh, entries, parts.view),
        check=CheckCommands(settings, parts),
        put=PutCommands(parts),
        get=GetCommands(parts),
        log=LogCommands(log, parts.access_log),
        limit=LimitCommands(parts.client.uploads, parts.client.downloads),
        watch=WatchCommands(parts.event_recorder, parts.view),
    )  # fmt: skip
