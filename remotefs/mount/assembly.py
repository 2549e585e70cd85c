"""The composition root: every part of a mount, built once, each given what it works with."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import cast

import msgspec
import trio

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.connectivity import Connectivity
from remotefs.api.reconnect import Reconnect
from remotefs.clocks import Machine, ServiceClock, SteadyClock
from remotefs.config import Config, ServiceConfig, Shape
from remotefs.control.address import SOCKET_NAME
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.folder_readahead import Scans
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.patience import Patience
from remotefs.data.download.source import ServiceSource
from remotefs.data.download.vetting import VettedService
from remotefs.data.files.file_bytes import FileBytes
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.labelling import Labels
from remotefs.data.files.lengths import Lengths
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.resizing import Resizer
from remotefs.data.files.staging import Staging
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.reconcile.existence_check import ExistenceCheck
from remotefs.data.reconcile.listing import Listings
from remotefs.data.reconcile.merge import Merger
from remotefs.data.reconcile.placement import Ownership, TreePlacer
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.refresh import Refresh
from remotefs.data.reconcile.removal import VanishedFiles
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.reported_missing import ReportedMissing
from remotefs.data.reconcile.timekeeping import Timekeeper
from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.deleter import RemoteDeleter
from remotefs.data.writeback.dispatcher import Writeback
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.readback import Readback
from remotefs.data.writeback.recovery import Recovery
from remotefs.data.writeback.uploader import Uploader
from remotefs.errors import LocalError
from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.ownership import AccountGuard
from remotefs.mount.settings import MountSettings
from remotefs.store.copies import COPIES_NAME, Copies
from remotefs.store.database import Database
from remotefs.store.disk import Disk
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.remotes import Remotes
from remotefs.store.store import Store
from remotefs.store.tree import Tree
from remotefs.supervision import Supervisor
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy
from remotefs.wakeup import Wakeup


class Components:
    """The parts of one mount, from the lowest layer up: fields that `assemble` fills in."""

    database: Database
    machine: Machine
    store: Store
    clock: SteadyClock
    service_clock: ServiceClock
    supervisor: Supervisor
    viewed_folders: ViewedFolders
    handles: Handles
    naming: NamePolicy
    connectivity: Connectivity
    wakeup: Wakeup
    in_flight: UploadsInFlight
    locks: InodeLocks
    notifier: KernelNotifier
    budget: Budget
    guard: AccountGuard
    client: Client
    patience: Patience
    disk: Disk
    copies: Copies
    content: ContentStore
    staging: Staging
    timekeeper: Timekeeper
    trash: Trash
    downloader: Downloader
    fs: FileSystem
    meta: Meta
    tree: Tree
    journal: Journal
    remotes: Remotes
    reported_missing: ReportedMissing
    resizer: Resizer
    planner: IntentPlanner
    file_bytes: FileBytes
    promoter: Promoter
    closer: Closer
    writeback: Writeback
    listings: Listings
    refresh: Refresh
    reconnect: Reconnect
    recovery: Recovery

    def is_open(self, file_id: str) -> bool:
        """Return whether a program has a file with that content open."""
        return any(self.handles.is_open(inode.ino) for inode in self.tree.holders(file_id))

    async def ask_service(self) -> None:
        """Send the smallest request that there is, to see whether the service answers.

        Raises RefusedError, TransportError.
        """
        await self.patience.ask("the service", lambda ticket: self.client.list_page(None, priority=ticket, limit=1))

    def remember_concurrency(self, count: int) -> None:
        """Note how many streams at a time the service took, for the next mount."""
        with suppress(LocalError):  # it is found out again
            self.meta.record(concurrency=count)

    def distrust(self, file_id: str) -> None:
        """Note that the content of an id may not be as long as it was listed."""
        self.resizer.distrusted(file_id)


def assemble(settings: MountSettings, database: Database, *, machine: Machine | None = None) -> Components:
    """Build the parts of one mount, each once and each given what it works with.

    `database` is open, and the caller closes it. `machine` has the clocks, by default those of this machine.
    """
    parts = Components()
    parts.machine = machine or Machine()
    config = settings.config
    parts.database = database
    parts.store = store = Store.of(database, root_uid=os.getuid(), root_gid=os.getgid(), machine=parts.machine)
    parts.meta, parts.tree, parts.journal, parts.remotes = store.meta, store.tree, store.journal, store.remotes
    parts.clock = store.steady
    parts.service_clock = ServiceClock(parts.machine, store.steady, parts.meta.facts.service_clock)
    parts.supervisor = Supervisor()
    parts.viewed_folders = ViewedFolders(parts.tree, parts.remotes)
    parts.handles = Handles(parts.viewed_folders.note_listing)
    parts.naming = NamePolicy(config.names)
    parts.connectivity = Connectivity(vouched=False)
    parts.wakeup = Wakeup()
    parts.in_flight = UploadsInFlight()
    parts.locks = InodeLocks()
    parts.notifier = KernelNotifier(parts.handles.is_known)
    _build_service(parts, settings)
    _build_data(parts, config)
    parts.fs = _build_fs(parts, config, settings)
    return parts


def _build_service(parts: Components, settings: MountSettings) -> None:
    config, state, database = settings.config, settings.state_dir, parts.database
    service = _remembered_shape(config.service, parts.meta.facts.shape)
    parts.budget = Budget.for_service(service)
    parts.guard = AccountGuard(parts.meta, parts.connectivity, service.base_url, str(state))
    parts.client = Client(
        service,
        parts.budget,
        on_account=parts.guard.check,
        on_heard=parts.connectivity.heard,
        clock=parts.service_clock,
    )
    parts.patience = Patience(service.read_wait_s, parts.connectivity)
    parts.disk = Disk(state, config.cache)
    parts.copies = Copies(database.path, state / COPIES_NAME, parts.disk.room_for)
    parts.content = ContentStore(state / "content", config.cache, parts.disk, database.durability, parts.is_open)
    parts.staging = Staging(state / "staging", parts.disk, database.durability)
    parts.timekeeper = Timekeeper(parts.meta, parts.clock, parts.service_clock)
    parts.trash = Trash(state / "trash", parts.timekeeper.aged_ns)
    parts.downloader = Downloader(
        ServiceSource(VettedService(parts.client, parts.remotes), parts.connectivity),
        parts.content, ChunkMemory(config.cache.memory_bytes), config.cache, parts.supervisor,
        StreamConcurrency(parts.meta.facts.concurrency, parts.remember_concurrency),
        lambda: parts.budget.limit_per_minute,
        parts.patience, parts.distrust,
    )  # fmt: skip


def _build_data(parts: Components, config: Config) -> None:
    wake_refresh = Wakeup()
    parts.reported_missing = ReportedMissing(wake_refresh)
    parts.resizer = Resizer(parts.store, parts.content, parts.notifier, parts.handles, parts.downloader.forget)
    churn = Churn(config.writeback.changing_pause_s, trio.current_time)
    parts.planner = IntentPlanner(
        parts.store, parts.content, parts.naming, parts.handles, config.writeback, parts.wakeup, parts.in_flight,
        parts.clock, Labels(parts.database, parts.staging, parts.content), churn,
    )  # fmt: skip
    parts.file_bytes = FileBytes(
        parts.store, parts.planner, parts.content, parts.staging, parts.downloader, parts.locks,
        Freezer(parts.staging, parts.planner, churn, parts.connectivity), parts.in_flight,
        parts.handles, config.service.max_file_bytes, parts.reported_missing.report,
    )  # fmt: skip
    parts.promoter = Promoter(parts.file_bytes)
    parts.closer = Closer(parts.store, parts.planner, parts.file_bytes, parts.handles, parts.promoter.want)
    readback = Readback(parts.client, parts.remotes, config.writeback.readback_after_s)
    uploader = Uploader(
        parts.store, parts.planner, parts.file_bytes, churn, parts.in_flight, parts.client, readback,
        parts.connectivity, parts.service_clock,
    )  # fmt: skip
    deleter = RemoteDeleter(parts.store, parts.client, parts.connectivity, parts.handles, parts.in_flight, parts.clock)
    parts.writeback = Writeback(
        parts.store, parts.planner, parts.file_bytes, parts.promoter, parts.closer, churn, uploader, deleter,
        parts.connectivity, parts.budget, parts.handles, config.writeback, parts.wakeup, parts.clock, parts.supervisor,
    )  # fmt: skip
    placer = TreePlacer(parts.store, parts.planner, parts.notifier, Ownership(os.getuid(), os.getgid()))
    vanished = VanishedFiles(
        parts.store, parts.planner, parts.content, parts.staging, placer, parts.trash, parts.handles, config.refresh,
        parts.service_clock, parts.downloader.forget,
    )  # fmt: skip
    poll_schedule = PollSchedule(parts.budget, config.refresh, parts.store.steady, parts.remotes.known_count)
    renewer = Renewer(parts.remotes, parts.resizer, parts.service_clock)
    existence_check = ExistenceCheck(
        parts.store, parts.client, vanished, renewer, parts.viewed_folders, poll_schedule, config.refresh
    )
    merger = Merger(parts.store, placer, renewer, parts.handles.is_directory_open, parts.service_clock)
    parts.listings = Listings(
        parts.store, parts.client, merger, vanished, poll_schedule, config.refresh, parts.service_clock,
        parts.timekeeper, parts.machine.wall,
    )  # fmt: skip
    parts.refresh = Refresh(
        parts.listings, parts.connectivity, config.refresh, poll_schedule, existence_check, parts.reported_missing,
        wake_refresh,
    )  # fmt: skip
    parts.reconnect = Reconnect(parts.connectivity, parts.ask_service, wake_refresh.set)
    parts.recovery = Recovery(
        parts.store, parts.planner, parts.content, parts.staging, parts.file_bytes, parts.trash
    )  # fmt: skip


def _build_fs(parts: Components, config: Config, settings: MountSettings) -> FileSystem:
    namespace = Namespace(parts.store, parts.planner, parts.file_bytes, parts.handles, ById(parts.tree, parts.remotes))
    files = Files(
        parts.store, parts.planner, parts.file_bytes, parts.promoter, parts.closer, parts.writeback, parts.handles,
        namespace,
        config.writeback, parts.wakeup.set,
        Scans(parts.tree, parts.file_bytes.prefetch, lambda: parts.budget.limit_per_minute),
        Lengths(parts.store, parts.content, parts.downloader, parts.resizer, parts.reported_missing.report),
    )  # fmt: skip
    attributes = Attributes(
        parts.store, parts.planner, parts.file_bytes, parts.in_flight, parts.writeback, namespace, files, parts.disk,
        config.service.storage_bytes, settings.state_dir / SOCKET_NAME,
    )  # fmt: skip
    return FileSystem(namespace, files, attributes, parts.handles)


def _remembered_shape(service: ServiceConfig, shape: str | None) -> ServiceConfig:
    if service.shape != "auto" or shape is None:
        return service
    return msgspec.structs.replace(service, shape=cast("Shape", shape))
