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
from remotefs.clocks import Machine, ServiceClock
from remotefs.config import Config, ServiceConfig, Shape, WritebackConfig
from remotefs.control.address import SOCKET_NAME
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.download.concurrency import StreamConcurrency
from remotefs.data.download.division import Division
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.folder_readahead import Scans
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.patience import Patience
from remotefs.data.download.shelf import Shelf
from remotefs.data.download.source import ServiceSource
from remotefs.data.download.transfer import Transfer
from remotefs.data.download.vetting import VettedService
from remotefs.data.files.copy_on_write import CopyOnWrite
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.labelling import Labels
from remotefs.data.files.lengths import Lengths
from remotefs.data.files.locator import Locator
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.outgoing import OutgoingBytes
from remotefs.data.files.promotion import Promotion
from remotefs.data.files.reader import FileReader
from remotefs.data.files.resizing import Resizer
from remotefs.data.files.staging import Staging
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.files.writer import FileWriter
from remotefs.data.intents.binder import Binder
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.due_times import DueTimes
from remotefs.data.intents.freed_ids import FreedIds
from remotefs.data.intents.garbage import Garbage
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.intents.reuploads import ReuploadRule
from remotefs.data.intents.unlinker import Unlinker
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
from remotefs.data.reconcile.tree_removal import TreeRemover
from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.data.writeback.agenda import Agenda
from remotefs.data.writeback.close_wait import CloseWait
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.confirmation import Confirmation
from remotefs.data.writeback.connection import ConnectionFollower
from remotefs.data.writeback.deleter import RemoteDeleter
from remotefs.data.writeback.dispatcher import Dispatcher
from remotefs.data.writeback.drainer import Drainer
from remotefs.data.writeback.eligibility import Eligibility
from remotefs.data.writeback.failures import Failures
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.readback import Readback
from remotefs.data.writeback.recovery import Recovery
from remotefs.data.writeback.selection import Selection
from remotefs.data.writeback.transmission import Transmission
from remotefs.data.writeback.uploader import Uploader
from remotefs.data.writeback.waiters import Waiters
from remotefs.data.writeback.workers import Workers
from remotefs.data.writeback.writeback import Writeback
from remotefs.errors import LocalError
from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.ownership import AccountGuard
from remotefs.mount.settings import MountSettings
from remotefs.store.copies import COPIES_NAME, Copies
from remotefs.store.database import Database
from remotefs.store.disk import Disk
from remotefs.store.store import Store
from remotefs.supervision import Supervisor
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.closing import Closing, LastClose
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy
from remotefs.vfs.reading import Reading
from remotefs.vfs.xattrs import ExtendedAttributes
from remotefs.wakeup import Wakeup


class Components:
    """The parts of one mount, from the lowest layer up; `database` is open, and closed by whoever opened it.

    `machine` has the clocks, by default those of this one.
    """

    def __init__(self, settings: MountSettings, database: Database, *, machine: Machine | None = None) -> None:
        config, state = settings.config, settings.state_dir
        self.database = database
        machine = machine or Machine()
        self.store = store = Store.of(database, root_uid=os.getuid(), root_gid=os.getgid(), machine=machine)
        self.meta, self.tree, self.journal, self.remotes = store.meta, store.tree, store.journal, store.remotes
        self.clock = store.steady
        self.service_clock = ServiceClock(machine, store.steady, self.meta.facts.service_clock)
        self.supervisor = Supervisor()
        self._viewed_folders = ViewedFolders(self.tree, self.remotes)
        self.handles = Handles(self._viewed_folders.note_listing)
        self.naming = NamePolicy(config.names)
        self.connectivity = Connectivity(vouched=False)
        self.wakeup = Wakeup()
        self.in_flight = UploadsInFlight()
        self.locks = InodeLocks()
        self.notifier = KernelNotifier(self.handles.is_known)

        service = _remembered_shape(config.service, self.meta.facts.shape)
        self.budget = Budget.for_service(service)
        self.guard = AccountGuard(self.meta, self.connectivity, service.base_url, str(state))
        self.client = Client(
            service,
            self.budget,
            on_account=self.guard.check,
            on_heard=self.connectivity.heard,
            clock=self.service_clock,
        )
        self.patience = Patience(service.read_wait_s, self.connectivity)
        self.disk = Disk(state, config.cache)
        self.copies = Copies(database.path, state / COPIES_NAME, self.disk.room_for)
        self.content = ContentStore(state / "content", config.cache, self.disk, database.durability, self._is_open)
        self.staging = Staging(state / "staging", self.disk, database.durability)
        self.timekeeper = Timekeeper(self.meta, store.steady, self.service_clock)
        self.trash = Trash(state / "trash", self.timekeeper.aged_ns)
        shelf = Shelf(self.content, ChunkMemory(config.cache.memory_bytes))
        concurrency = StreamConcurrency(self.meta.facts.concurrency, self._remember_concurrency)
        source = ServiceSource(VettedService(self.client, self.remotes), self.connectivity)
        self.downloader = Downloader(
            Transfer(source, self.content, shelf, concurrency, self._distrust),
            self.content,
            shelf,
            Division(
                concurrency, lambda: self.budget.limit_per_minute,
                readahead_bytes=config.cache.readahead_bytes, content_bytes=self.content.limit_bytes,
            ),
            self.patience,
            self.supervisor,
        )  # fmt: skip
        self._build_data(config)
        self.fs = self._build_fs(config, settings)

    def _build_data(self, config: Config) -> None:
        wake_refresh = Wakeup()
        self.reported_missing = ReportedMissing(wake_refresh)
        self.resizer = Resizer(self.store, self.content, self.notifier, self.handles, self.downloader.forget)
        churn = Churn(config.writeback.changing_pause_s, trio.current_time)
        self.intents = self._build_intents(config.writeback, churn)
        freezer = self._build_files(config, churn)
        self.promoter = Promoter(self.promotion)
        self.closer = Closer(
            self.store, self.intents, self.file_writer, freezer, self.handles, self.promoter.request
        )  # fmt: skip
        self.outgoing = OutgoingBytes(self.store, self.locks, freezer, self.file_writer, self.locator)
        self._build_writeback(config.writeback, churn)
        placer = TreePlacer(self.store, self.intents, self.notifier, Ownership(os.getuid(), os.getgid()))
        remover = TreeRemover(
            self.store, self.intents, self.content, self.staging, placer, self.trash, self.handles,
            self.downloader.forget,
        )  # fmt: skip
        vanished = VanishedFiles(self.store, remover, self.trash, config.refresh, self.service_clock)
        poll_schedule = PollSchedule(self.budget, config.refresh, self.store.steady, self.remotes.known_count)
        renewer = Renewer(self.remotes, self.resizer, self.service_clock)
        existence_check = ExistenceCheck(
            self.store, self.client, vanished, renewer, self._viewed_folders, poll_schedule, config.refresh
        )
        merger = Merger(self.store, placer, renewer, self.handles.is_directory_open, self.service_clock)
        self.listings = Listings(
            self.store, self.client, merger, vanished, poll_schedule, config.refresh, self.service_clock,
            self.timekeeper,
        )  # fmt: skip
        self.refresh = Refresh(
            self.listings, self.connectivity, config.refresh, poll_schedule, existence_check, self.reported_missing,
            wake_refresh,
        )  # fmt: skip
        self.reconnect = Reconnect(self.connectivity, self._ask_service, wake_refresh.set)
        self.recovery = Recovery(
            self.store, self.intents, self.content, self.staging, self.promotion, self.sweeper, self.trash
        )  # fmt: skip

    def _build_files(self, config: Config, churn: Churn) -> Freezer:
        store, intents = self.store, self.intents
        freezer = Freezer(store, self.staging, intents, churn, self.connectivity, self.in_flight)
        self.locator = Locator(store, intents, self.content, self.staging)
        self.file_reader = FileReader(
            store, self.content, self.locator, self.downloader, self.locks, self.reported_missing.report
        )
        copy_on_write = CopyOnWrite(
            store, intents, self.content, self.staging, self.downloader, freezer, self.in_flight,
            self.file_reader.check_readable,
        )  # fmt: skip
        self.file_writer = FileWriter(
            store, intents, self.staging, self.locks, freezer, copy_on_write, self.locator,
            config.service.max_file_bytes,
        )  # fmt: skip
        self.promotion = Promotion(
            store, intents, self.content, self.staging, self.locks, self.in_flight, self.handles, self.locator
        )
        self.sweeper = Sweeper(store, intents, self.content, self.staging, freezer, self.in_flight, self.handles)
        return freezer

    def _build_intents(self, config: WritebackConfig, churn: Churn) -> Intents:
        store, usage, in_flight, wakeup = self.store, self.handles, self.in_flight, self.wakeup
        labels = Labels(self.database, self.staging, self.content)
        paths = InodePaths(self.tree, self.remotes, self.naming)
        due_times = DueTimes(paths, config, churn, self.clock)
        garbage = Garbage(self.database, labels, wakeup)
        freed_ids = FreedIds(store, paths, garbage, due_times, usage, in_flight)
        rule = ReuploadRule(self.remotes, paths, self.content, config)
        planner = IntentPlanner(store, paths, due_times, freed_ids, rule, in_flight, labels, wakeup)
        unlinker = Unlinker(store, planner, freed_ids, garbage, labels, usage, in_flight, wakeup)
        binder = Binder(store, planner, unlinker, freed_ids, config)
        return Intents(paths, due_times, garbage, freed_ids, planner, unlinker, binder)

    def _build_writeback(self, config: WritebackConfig, churn: Churn) -> None:
        store, journal, usage, connectivity = self.store, self.journal, self.handles, self.connectivity
        agenda = Agenda(journal, self.clock)
        waiters = Waiters(journal, self.wakeup)
        self.failures = Failures(journal, self.intents.paths, agenda, connectivity, self.clock, self.supervisor)
        self.close_wait = CloseWait(journal, self.failures, waiters, connectivity, self.budget, churn, config)
        self.drainer = Drainer(store, agenda, waiters, self.closer, self.promoter, churn, usage, self.wakeup)
        deleter = RemoteDeleter(store, self.client, connectivity, usage, self.in_flight, self.clock)
        selection = Selection(store, agenda, waiters, churn, usage, config)
        workers = Workers(
            self._build_uploader(config, churn), deleter, self.promoter, agenda, self.failures, waiters, self.supervisor
        )
        dispatcher = Dispatcher(
            selection, workers, deleter, self.intents.garbage, self.sweeper, connectivity, self.wakeup,
            self.supervisor,
        )  # fmt: skip
        follower = ConnectionFollower(journal, connectivity, agenda, self.failures, waiters)
        self.writeback = Writeback(
            journal, dispatcher, follower, self.promoter, self.closer, workers, self.failures, self.supervisor
        )

    def _build_uploader(self, config: WritebackConfig, churn: Churn) -> Uploader:
        store, outgoing = self.store, self.outgoing
        readback = Readback(self.client, self.remotes, config.readback_after_s)
        confirmation = Confirmation(store, self.intents.binder, outgoing, churn, readback, self.connectivity)
        transmission = Transmission(store, self.client, self.connectivity, self.service_clock)
        eligibility = Eligibility(store, self.intents, outgoing)
        return Uploader(store, eligibility, outgoing, churn, self.in_flight, transmission, confirmation)

    def _distrust(self, file_id: str) -> None:
        self.resizer.distrusted(file_id)

    async def _ask_service(self) -> None:
        """The smallest question that there is."""
        await self.patience.ask("the service", lambda ticket: self.client.list_page(None, priority=ticket, limit=1))

    def _remember_concurrency(self, count: int) -> None:
        with suppress(LocalError):  # it is found out again
            self.meta.record(concurrency=count)

    def _is_open(self, file_id: str) -> bool:
        return any(self.handles.is_open(inode.ino) for inode in self.tree.holders(file_id))

    def _build_fs(self, config: Config, settings: MountSettings) -> FileSystem:
        store, intents, handles = self.store, self.intents, self.handles
        namespace = Namespace(store, intents, self.sweeper, handles, ById(self.tree, self.remotes))
        lengths = Lengths(store, self.content, self.downloader, self.resizer, self.reported_missing.report)
        scans = Scans(self.tree, self.file_reader.prefetch, lambda: self.budget.limit_per_minute)
        reading = Reading(store, self.file_reader, self.locator, lengths, handles, scans)
        last_close = LastClose(
            store, intents, self.file_writer, self.sweeper, self.promoter, self.closer, handles, reading
        )
        closing = Closing(
            store, intents, self.file_writer, self.close_wait, handles, last_close, config.writeback, self.wakeup.set
        )
        files = Files(store, self.file_writer, lengths, handles, namespace, reading, closing, config.writeback)
        attributes = Attributes(store, namespace, files, self.disk, config.service.storage_bytes)
        xattrs = ExtendedAttributes(
            store, intents, self.file_reader, self.in_flight, self.failures, settings.state_dir / SOCKET_NAME
        )
        return FileSystem(namespace, files, attributes, xattrs, handles)


def _remembered_shape(service: ServiceConfig, shape: str | None) -> ServiceConfig:
    if service.shape != "auto" or shape is None:
        return service
    return msgspec.structs.replace(service, shape=cast("Shape", shape))
