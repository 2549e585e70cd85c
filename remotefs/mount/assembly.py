"""The composition root: every part of a mount, built once, each given what it works with."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import cast

import trio

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.connectivity import Connectivity
from remotefs.api.reconnect import Reconnect
from remotefs.clocks import Machine, ServiceClock, SteadyClock
from remotefs.config import Config, RefreshConfig, Shape, WritebackConfig
from remotefs.control.address import SOCKET_NAME
from remotefs.credentials import secrets_of
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
from remotefs.data.files.summing import Summing
from remotefs.data.files.sweeper import Sweeper
from remotefs.data.files.writer import FileWriter
from remotefs.data.foreign_names import ForeignNames
from remotefs.data.intents.binder import Binder
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.due_times import DueTimes
from remotefs.data.intents.freed_ids import FreedIds
from remotefs.data.intents.garbage import Garbage
from remotefs.data.intents.in_flight import UploadsInFlight
from remotefs.data.intents.intents import Intents
from remotefs.data.intents.left_behind import LeftBehind
from remotefs.data.intents.paths import InodePaths
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.intents.renamed_folders import RenamedFolders
from remotefs.data.intents.reuploads import ReuploadRule
from remotefs.data.intents.unlinker import Unlinker
from remotefs.data.intents.upload_options import UploadOptions
from remotefs.data.reconcile.conflict_copies import ConflictCopies
from remotefs.data.reconcile.existence_check import ExistenceCheck
from remotefs.data.reconcile.expiry_notices import ExpiryNotices
from remotefs.data.reconcile.listing import Listings
from remotefs.data.reconcile.listing_room import ListingRoom
from remotefs.data.reconcile.merge import Merger
from remotefs.data.reconcile.placement import Ownership, TreePlacer
from remotefs.data.reconcile.poll_schedule import PollSchedule
from remotefs.data.reconcile.refresh import Refresh
from remotefs.data.reconcile.removal import VanishedFiles
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.reported_missing import ReportedMissing
from remotefs.data.reconcile.returned_files import ReturnedFiles
from remotefs.data.reconcile.timekeeping import Timekeeper
from remotefs.data.reconcile.tree_removal import TreeRemover
from remotefs.data.reconcile.undeleted import Undeleted
from remotefs.data.reconcile.viewed_folders import ViewedFolders
from remotefs.data.share.complete_listings import CompleteListings
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.exchange import Exchange
from remotefs.data.share.janitor import Janitor
from remotefs.data.share.releaser import Releaser
from remotefs.data.share.source import SharedSource
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
from remotefs.data.writeback.last_run import LastRun
from remotefs.data.writeback.mandate import Mandate
from remotefs.data.writeback.promoter import Promoter
from remotefs.data.writeback.readback import Readback
from remotefs.data.writeback.recovery import Recovery
from remotefs.data.writeback.rename_follower import RenameFollower
from remotefs.data.writeback.selection import Selection
from remotefs.data.writeback.sharer import Sharer
from remotefs.data.writeback.transmission import Transmission
from remotefs.data.writeback.uploader import Uploader
from remotefs.data.writeback.waiters import Waiters
from remotefs.data.writeback.workers import Workers
from remotefs.data.writeback.writeback import Writeback
from remotefs.errors import LocalError
from remotefs.fuse.notify import KernelNotifier
from remotefs.fuse.requests import Requests
from remotefs.mount.access_log import AccessLog
from remotefs.mount.announcing.announcer import Announcer
from remotefs.mount.event_recorder import EventRecorder
from remotefs.mount.ownership import AccountGuard
from remotefs.mount.settings import MountSettings
from remotefs.mount.shared_parts import build_exchange, build_janitor, shared_contents
from remotefs.objects.link import Link
from remotefs.store.copies import COPIES_NAME, Copies
from remotefs.store.database import Database
from remotefs.store.disk import Disk
from remotefs.store.event_log import FOLDER_NAME, EventLog
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.remotes import Remotes
from remotefs.store.store import Store
from remotefs.store.tree import Tree
from remotefs.supervision import Supervisor
from remotefs.vfs.announcements import Announcements
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.closing import Closing, LastClose
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy
from remotefs.vfs.reading import Reading
from remotefs.vfs.view import View
from remotefs.vfs.xattrs import ExtendedAttributes
from remotefs.wakeup import Wakeup


class Components:
    """The parts of one mount, from the lowest layer up: fields that `assemble` fills in."""

    database: Database
    store: Store
    meta: Meta
    tree: Tree
    journal: Journal
    remotes: Remotes
    clock: SteadyClock
    service_clock: ServiceClock
    last_run: LastRun
    mandate: Mandate
    supervisor: Supervisor
    viewed_folders: ViewedFolders
    handles: Handles
    naming: NamePolicy
    view: View
    connectivity: Connectivity
    wakeup: Wakeup
    in_flight: UploadsInFlight
    locks: InodeLocks
    notifier: KernelNotifier
    foreign_names: ForeignNames
    announcements: Announcements
    announcer: Announcer
    event_recorder: EventRecorder
    # When the parts were built: in seconds since the epoch, and of the monotonic clock.
    began_s: float
    began_monotonic_s: float
    requests: Requests
    access_log: AccessLog
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
    reported_missing: ReportedMissing
    resizer: Resizer
    intents: Intents
    locator: Locator
    file_reader: FileReader
    file_writer: FileWriter
    promotion: Promotion
    sweeper: Sweeper
    outgoing: OutgoingBytes
    summing: Summing
    promoter: Promoter
    closer: Closer
    failures: Failures
    waiters: Waiters
    shared: SharedContents
    sharer: Sharer
    releaser: Releaser
    # Only where there is a shared store.
    shared_source: SharedSource
    exchange: Exchange
    janitor: Janitor | None
    complete_listings: CompleteListings
    close_wait: CloseWait
    drainer: Drainer
    writeback: Writeback
    merger: Merger
    listings: Listings
    refresh: Refresh
    expiry_notices: ExpiryNotices
    reconnect: Reconnect
    recovery: Recovery
    fs: FileSystem

    def is_open(self, file_id: str) -> bool:
        """Return whether a program has a file with that content open."""
        return any(self.handles.is_open(inode.ino) for inode in self.tree.holders(file_id))

    def damaged_staged(self) -> list[str]:
        """Return the paths of the files that are not uploaded because their bytes on this disk are damaged."""
        found = (self.tree.find(ino) for ino, _ in sorted(self.staging.sums.damaged))
        current = (inode for inode in found if inode is not None and inode.nlink and self.locator.is_damaged(inode))
        return [self.intents.paths.shown(inode) for inode in current]

    def path_of(self, ino: int) -> str | None:
        """Return the oldest path of an inode below the mount's root, empty for that; None where it has no name."""
        path = next(self.tree.each_path_of(ino), None)
        return None if path is None else self.view.inside(path)

    async def ask_service(self) -> None:
        """Send the smallest request that there is, to see whether the service answers.

        Raises RefusedError, TransportError.
        """
        await self.patience.ask("the service", lambda ticket: self.client.list_page(None, priority=ticket, limit=1))

    def remember_concurrency(self, count: int) -> None:
        """Note how many streams at a time the service took, for the next mount."""
        with suppress(LocalError):  # it is found out again
            self.meta.record(concurrency=count)

    def digest_of(self, file_id: str) -> str | None:
        """Return the xxh3-128 digest of all bytes of an id in hex; None where it is not known."""
        remote = self.remotes.find(file_id)
        return remote.digest if remote is not None else None

    def is_limited(self, file_id: str) -> bool:
        """Return whether the requests that bring the bytes of an id are limited: those of the shared store are not."""
        return self.budget.limit_per_minute is not None and not self.shared.brings(file_id)

    def distrust(self, file_id: str) -> None:
        """Note that the content of an id may not be as long as it was listed."""
        self.resizer.distrusted(file_id)


def assemble(settings: MountSettings, database: Database, *, machine: Machine | None = None) -> Components:
    """Build the parts of one mount, each once and each given what it works with.

    `database` is open, and the caller closes it. `machine` has the clocks, by default those of this machine.
    """
    parts = Components()
    config = settings.config
    parts.database = database
    machine = machine or Machine()
    parts.store = store = Store.of(database, root_uid=os.getuid(), root_gid=os.getgid(), machine=machine)
    parts.meta, parts.tree, parts.journal, parts.remotes = store.meta, store.tree, store.journal, store.remotes
    parts.clock = store.steady
    parts.last_run = LastRun.of(parts.meta.facts, machine, store.steady())
    parts.service_clock = ServiceClock(machine, store.steady, parts.meta.facts.service_clock)
    parts.mandate = Mandate()
    parts.supervisor = Supervisor()
    parts.viewed_folders = ViewedFolders(parts.tree, parts.remotes)
    parts.handles = Handles(parts.viewed_folders.note_listing)
    parts.naming = NamePolicy(config.names)
    parts.view = View(parts.tree, parts.naming.hidden)
    parts.connectivity = Connectivity(vouched=False)
    parts.wakeup = Wakeup()
    parts.in_flight = UploadsInFlight()
    parts.locks = InodeLocks()
    parts.began_s, parts.began_monotonic_s = time.time(), time.monotonic()
    parts.requests = Requests(parts.handles, parts.path_of)
    secrets = secrets_of(config.service) if settings.keys is None else settings.keys.secrets
    parts.access_log = AccessLog(settings.state_dir / "log", parts.requests, secrets, config.log.format)
    parts.notifier = KernelNotifier(parts.handles.is_known, parts.view)
    parts.foreign_names = ForeignNames(lambda: parts.meta.facts.listed_ns > 0)
    parts.announcements = Announcements(parts.tree, parts.handles, parts.view)
    parts.foreign_names.listen(parts.announcements)
    parts.event_recorder = EventRecorder(store, EventLog(settings.state_dir / FOLDER_NAME))
    parts.foreign_names.listen(parts.event_recorder)
    parts.announcer = Announcer(parts.announcements, parts.tree, parts.view, parts.notifier, settings.mountpoint)
    parts.waiters = Waiters(parts.journal, parts.wakeup)
    parts.complete_listings = CompleteListings(database, store.orphans)
    _build_service(parts, settings)
    _build_data(parts, config)
    parts.janitor = _build_janitor(parts, settings) if parts.shared.is_configured else None
    parts.fs = _build_fs(parts, config, settings)
    return parts


def _build_service(parts: Components, settings: MountSettings) -> None:
    config, state, database = settings.config, settings.state_dir, parts.database
    service = config.service
    learned = cast("Shape", parts.meta.facts.shape or "auto")
    parts.budget = Budget.for_service(service, learned=learned)
    parts.guard = AccountGuard(parts.meta, parts.connectivity, service.base_url, str(state))
    parts.client = Client(
        settings.keys or service,
        parts.budget,
        on_account=parts.guard.check,
        on_heard=parts.connectivity.heard,
        clock=parts.service_clock,
        learned=learned,
    )
    link = Link(parts.client.uploads, parts.client.downloads)
    parts.shared = shared_contents(parts.store, config.shared, parts.service_clock, parts.waiters, link)
    parts.patience = Patience(service.read_wait_s, parts.connectivity, parts.shared.brings)
    parts.disk = Disk(state, config.cache)
    parts.copies = Copies(database.path, state / COPIES_NAME, parts.disk.room_for)
    parts.content = ContentStore(
        state / "content", config.cache, parts.disk, database.durability, parts.is_open, parts.digest_of
    )
    parts.staging = Staging(state / "staging", parts.disk, database.durability, config.cache.chunk_bytes)
    parts.timekeeper = Timekeeper(parts.meta, parts.store.steady, parts.service_clock)
    parts.trash = Trash(state / "trash", parts.timekeeper.aged_ns)
    shelf = Shelf(parts.content, ChunkMemory(config.cache.memory_bytes))
    concurrency = StreamConcurrency(parts.meta.facts.concurrency, parts.remember_concurrency)
    service_source = ServiceSource(VettedService(parts.client, parts.remotes), parts.connectivity)
    if parts.shared.is_configured:
        parts.shared_source = SharedSource(parts.shared, parts.remotes, service_source)
    source = parts.shared_source if parts.shared.is_configured else service_source
    parts.downloader = Downloader(
        Transfer(source, parts.content, shelf, concurrency, parts.distrust),
        parts.content,
        shelf,
        Division(
            concurrency, parts.is_limited,
            readahead_bytes=config.cache.readahead_bytes, content_bytes=parts.content.limit_bytes,
        ),
        parts.patience,
        parts.supervisor,
    )  # fmt: skip


def _build_data(parts: Components, config: Config) -> None:
    wake_refresh = Wakeup()
    parts.reported_missing = ReportedMissing(wake_refresh)
    parts.resizer = Resizer(parts.store, parts.content, parts.notifier, parts.handles, parts.downloader.forget)
    churn = Churn(config.writeback.changing_pause_s, trio.current_time)
    parts.intents = _build_intents(parts, config, churn)
    freezer = _build_files(parts, config, churn)
    parts.promoter = Promoter(parts.promotion)
    parts.closer = Closer(
        parts.store, parts.intents, parts.file_writer, freezer, parts.handles, parts.promoter.request
    )  # fmt: skip
    parts.outgoing = OutgoingBytes(
        parts.store, parts.locks, freezer, parts.file_writer, parts.locator, parts.staging.sums
    )
    parts.summing = Summing(parts.tree, parts.staging)
    _build_writeback(parts, config.writeback, churn)
    placer = TreePlacer(
        parts.store, parts.intents, parts.notifier, Ownership(os.getuid(), os.getgid()), parts.handles,
        parts.foreign_names,
    )  # fmt: skip
    poll_schedule = PollSchedule(parts.budget, config.refresh, parts.store.steady, parts.remotes.known_count)
    if parts.shared.is_configured:
        parts.exchange = build_exchange(
            parts.store, parts.shared, parts.service_clock, placer, parts.notifier, parts.handles, parts.waiters,
            poll_schedule.wanted_s,
        )  # fmt: skip
    elif parts.meta.facts.shared_writer is not None:
        parts.meta.record(shared_gap=True)
    parts.sharer = Sharer(
        parts.store, parts.shared, parts.file_reader, parts.waiters, parts.supervisor,
        workers=config.shared.upload_workers,
    )  # fmt: skip
    parts.releaser = Releaser(
        parts.store, parts.content, parts.shared, parts.disk, enabled=config.shared.evict
    )  # fmt: skip
    _build_reconcile(parts, config.refresh, placer, poll_schedule, wake_refresh)
    parts.reconnect = Reconnect(parts.connectivity, parts.ask_service, wake_refresh.set)
    parts.recovery = Recovery(
        parts.store, parts.intents, parts.content, parts.staging, parts.promotion, parts.sweeper, parts.trash,
        parts.last_run,
    )  # fmt: skip


def _build_reconcile(
    parts: Components, config: RefreshConfig, placer: TreePlacer, poll_schedule: PollSchedule, wake_refresh: Wakeup
) -> None:
    remover = TreeRemover(
        parts.store, parts.intents, parts.content, parts.staging, placer, parts.trash, parts.handles,
        parts.downloader.forget,
    )  # fmt: skip
    vanished = VanishedFiles(parts.store, remover, parts.trash, config, parts.service_clock)
    renewer = Renewer(parts.remotes, parts.content, parts.resizer, placer, parts.service_clock)
    existence_check = ExistenceCheck(
        parts.store, parts.client, vanished, renewer, parts.viewed_folders, poll_schedule, config
    )
    conflict_copies = ConflictCopies(parts.store, placer, parts.handles.is_directory_open)
    returned_files = ReturnedFiles(parts.store, parts.content, parts.trash, parts.intents.paths, parts.notifier)
    undeleted = Undeleted(parts.store, parts.intents.freed_ids, parts.wakeup)
    parts.merger = Merger(
        parts.store, placer, renewer, conflict_copies, returned_files, undeleted, parts.service_clock
    )  # fmt: skip
    lister = ListingRoom(parts.client, parts.disk, parts.store.remotes.known_count)
    parts.listings = Listings(
        parts.store, lister, parts.merger, vanished, poll_schedule, config, parts.service_clock,
        parts.timekeeper, parts.complete_listings,
    )  # fmt: skip
    parts.refresh = Refresh(
        parts.listings, parts.connectivity, config, poll_schedule, existence_check, parts.reported_missing,
        wake_refresh, parts.exchange.wake if parts.shared.is_configured else lambda: None,
    )  # fmt: skip
    parts.expiry_notices = ExpiryNotices(parts.store, parts.intents.paths, parts.service_clock)


def _build_janitor(parts: Components, settings: MountSettings) -> Janitor:
    return build_janitor(
        parts.store, parts.shared, parts.complete_listings, parts.client, parts.connectivity, parts.service_clock,
        parts.timekeeper, settings.config, is_reader=settings.options.read_only,
    )  # fmt: skip


def _build_files(parts: Components, config: Config, churn: Churn) -> Freezer:
    store, intents = parts.store, parts.intents
    freezer = Freezer(store, parts.staging, intents, churn, parts.connectivity, parts.in_flight)
    parts.locator = Locator(store, intents, parts.content, parts.staging)
    parts.file_reader = FileReader(
        store, intents.paths, parts.content, parts.locator, parts.downloader, parts.locks, parts.shared,
        parts.reported_missing.report,
    )  # fmt: skip
    copy_on_write = CopyOnWrite(
        store, intents, parts.content, parts.staging, parts.downloader, freezer, parts.in_flight,
        parts.file_reader.check_readable,
    )  # fmt: skip
    parts.file_writer = FileWriter(
        store, intents, parts.staging, parts.locks, freezer, copy_on_write, parts.locator,
        config.service.max_file_bytes,
    )  # fmt: skip
    parts.promotion = Promotion(
        store, intents, parts.content, parts.staging, parts.locks, parts.in_flight, parts.handles, parts.locator
    )
    parts.sweeper = Sweeper(store, intents, parts.content, parts.staging, freezer, parts.in_flight, parts.handles)
    return freezer


def _build_intents(parts: Components, settings: Config, churn: Churn) -> Intents:
    store, usage, in_flight, wakeup = parts.store, parts.handles, parts.in_flight, parts.wakeup
    config = settings.writeback
    labels = Labels(parts.database, parts.staging, parts.content)
    paths = InodePaths(parts.tree, parts.remotes, parts.naming)
    options = UploadOptions(parts.store, paths, settings.upload)
    due_times = DueTimes(paths, config, churn, parts.clock)
    garbage = Garbage(parts.database, labels, wakeup)
    freed_ids = FreedIds(store, paths, garbage, due_times, usage, in_flight)
    rule = ReuploadRule(parts.remotes, paths, options, parts.content, config)
    planner = IntentPlanner(store, paths, due_times, freed_ids, rule, in_flight, labels, wakeup)
    left_behind = LeftBehind(store, trio.current_time)
    renamed_folders = RenamedFolders(store, paths, planner, rule, in_flight, left_behind)
    unlinker = Unlinker(store, planner, freed_ids, garbage, labels, usage, in_flight, wakeup)
    binder = Binder(
        store, planner, unlinker, freed_ids, options, config, shares_uploads=parts.shared.is_configured
    )  # fmt: skip
    return Intents(
        paths, due_times, garbage, freed_ids, planner, left_behind, renamed_folders, unlinker, binder, options
    )


def _build_writeback(parts: Components, config: WritebackConfig, churn: Churn) -> None:
    store, journal, usage, connectivity = parts.store, parts.journal, parts.handles, parts.connectivity
    agenda = Agenda(journal, parts.clock, parts.mandate)
    waiters = parts.waiters
    parts.failures = Failures(journal, parts.intents.paths, agenda, connectivity, parts.clock, parts.supervisor)
    parts.close_wait = CloseWait(
        store, parts.failures, waiters, connectivity, parts.budget, churn, parts.shared, config
    )  # fmt: skip
    parts.drainer = Drainer(
        store, agenda, waiters, parts.closer, parts.promoter, churn, usage, parts.shared, parts.wakeup
    )  # fmt: skip
    deleter = RemoteDeleter(
        store, parts.client, connectivity, usage, parts.in_flight, parts.intents.left_behind, parts.clock
    )
    selection = Selection(store, agenda, waiters, churn, usage, config)
    workers = Workers(
        _build_uploader(parts, config, churn),
        deleter,
        parts.promoter,
        agenda,
        parts.failures,
        waiters,
        parts.supervisor,
    )
    dispatcher = Dispatcher(selection, workers, deleter, parts.sweeper, connectivity, parts.wakeup, parts.supervisor)
    follower = ConnectionFollower(journal, connectivity, agenda, parts.failures, waiters)
    rename_follower = RenameFollower(store, parts.intents.renamed_folders, waiters)
    parts.writeback = Writeback(
        journal, dispatcher, follower, parts.promoter, parts.closer, workers, rename_follower, parts.supervisor
    )


def _build_uploader(parts: Components, config: WritebackConfig, churn: Churn) -> Uploader:
    store, outgoing = parts.store, parts.outgoing
    readback = Readback(parts.client, parts.remotes, config.readback_after_s, parts.last_run, parts.service_clock)
    confirmation = Confirmation(store, parts.intents.binder, outgoing, churn, readback, parts.connectivity)
    options = parts.intents.upload_options
    transmission = Transmission(store, parts.client, parts.connectivity, options, parts.service_clock)
    eligibility = Eligibility(store, parts.intents, outgoing)
    return Uploader(store, eligibility, outgoing, options, churn, parts.in_flight, transmission, confirmation)


def _build_fs(parts: Components, config: Config, settings: MountSettings) -> FileSystem:
    store, intents, handles = parts.store, parts.intents, parts.handles
    byid = ById(parts.tree, parts.remotes, parts.view)
    namespace = Namespace(store, intents, parts.sweeper, handles, byid, parts.view)
    lengths = Lengths(store, parts.content, parts.downloader, parts.resizer, parts.reported_missing.report)
    scans = Scans(parts.tree, parts.file_reader.prefetch, parts.is_limited)
    reading = Reading(
        store, parts.file_reader, parts.locator, lengths, handles, scans, moves_atime=settings.options.moves_atime
    )
    last_close = LastClose(
        store, intents, parts.file_writer, parts.sweeper, parts.promoter, parts.closer, handles, reading
    )
    closing = Closing(
        store, intents, parts.file_writer, parts.close_wait, handles, last_close, config.writeback, parts.wakeup.set
    )
    files = Files(store, parts.file_writer, lengths, handles, namespace, reading, closing, config.writeback)
    attributes = Attributes(
        store, namespace, files, parts.file_reader, parts.disk, config.service.storage_bytes,
        config.names.unreadable_mode, settings.options.shown,
    )  # fmt: skip
    xattrs = ExtendedAttributes(
        store, intents, parts.file_reader, parts.in_flight, parts.failures, parts.view,
        settings.state_dir / SOCKET_NAME, parts.service_clock.now_ns,
    )  # fmt: skip
    return FileSystem(namespace, files, attributes, xattrs, handles, parts.view)
