"""The composition root: every part of a mount, built once, each given what it works with."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import cast

import msgspec
import trio

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.connectivity import Link
from remotefs.api.reconnect import Probe
from remotefs.clocks import Machine, ServiceClock
from remotefs.config import Config, ServiceConfig, Shape
from remotefs.control.address import SOCKET_NAME
from remotefs.data.content.store import ContentStore
from remotefs.data.content.trash import Trash
from remotefs.data.download.concurrency import Lanes
from remotefs.data.download.downloader import Downloader
from remotefs.data.download.folder_readahead import Scans
from remotefs.data.download.memory_cache import ChunkMemory
from remotefs.data.download.patience import Patience
from remotefs.data.download.source import ServiceTier
from remotefs.data.download.vetting import VettedService
from remotefs.data.files.file_bytes import FileData
from remotefs.data.files.freezer import Freezer
from remotefs.data.files.labelling import Labels
from remotefs.data.files.lengths import Lengths
from remotefs.data.files.locks import InodeLocks
from remotefs.data.files.resizing import Resizer
from remotefs.data.files.staging import Staging
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import Flights
from remotefs.data.intents.planner import Changes
from remotefs.data.reconcile.existence_check import Lookout
from remotefs.data.reconcile.listing import Listings
from remotefs.data.reconcile.merge import Merger
from remotefs.data.reconcile.placement import Ownership, Placer
from remotefs.data.reconcile.poll_schedule import Cadence
from remotefs.data.reconcile.refresh import Refresh
from remotefs.data.reconcile.removal import Remover
from remotefs.data.reconcile.renewal import Renewer
from remotefs.data.reconcile.reported_missing import Suspects
from remotefs.data.reconcile.timekeeping import Timekeeper
from remotefs.data.reconcile.viewed_folders import View
from remotefs.data.writeback.closer import Closer
from remotefs.data.writeback.deleter import Deleter
from remotefs.data.writeback.dispatcher import Writeback
from remotefs.data.writeback.promoter import Settler
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
from remotefs.store.store import Store
from remotefs.supervision import Supervisor
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy
from remotefs.wakeup import Doorbell


class Parts:
    """The parts of one mount, from the lowest layer up; `database` is open, and closed by whoever opened it.

    `machine` has the clocks, by default those of this one.
    """

    def __init__(self, settings: MountSettings, database: Database, *, machine: Machine | None = None) -> None:
        config, state = settings.config, settings.state_dir
        self.database = database
        self._machine = machine or Machine()
        self.store = store = Store.of(database, root_uid=os.getuid(), root_gid=os.getgid(), machine=self._machine)
        self.meta, self.tree, self.journal, self.remotes = store.meta, store.tree, store.journal, store.remotes
        self.clock = store.steady
        self.service_clock = ServiceClock(self._machine, store.steady, self.meta.facts.service_clock)
        self.supervisor = Supervisor()
        self._view = View(self.tree, self.remotes)
        self.handles = Handles(self._view.note_listing)
        self.naming = NamePolicy(config.names)
        self.link = Link(vouched=False)
        self.doorbell = Doorbell()
        self.flights = Flights()
        self.locks = InodeLocks()
        self.notifier = KernelNotifier(self.handles.is_known)

        service = _remembered_shape(config.service, self.meta.facts.shape)
        self.budget = Budget.for_service(service)
        self.guard = AccountGuard(self.meta, self.link, service.base_url, str(state))
        self.client = Client(
            service, self.budget, on_account=self.guard.check, on_heard=self.link.heard, clock=self.service_clock
        )
        self.patience = Patience(service.read_wait_s, self.link)
        self.disk = Disk(state, config.cache)
        self.copies = Copies(database.path, state / COPIES_NAME, self.disk.room_for)
        self.content = ContentStore(state / "content", config.cache, self.disk, database.durability, self._is_open)
        self.staging = Staging(state / "staging", self.disk, database.durability)
        self.timekeeper = Timekeeper(self.meta, store.steady, self.service_clock)
        self.trash = Trash(state / "trash", self.timekeeper.aged_ns)
        self.downloader = Downloader(
            ServiceTier(VettedService(self.client, self.remotes), self.link),
            self.content, ChunkMemory(config.cache.memory_bytes), config.cache, self.supervisor,
            Lanes(self.meta.facts.lanes, self._remember_lanes),
            lambda: self.budget.limit_per_minute,
            self.patience, self._distrust,
        )  # fmt: skip
        self._build_data(config)
        self.fs = self._build_fs(config, settings)

    def _build_data(self, config: Config) -> None:
        refresh_bell = Doorbell()
        self.suspects = Suspects(refresh_bell)
        self.resizer = Resizer(self.store, self.content, self.notifier, self.handles, self.downloader.forget)
        churn = Churn(config.writeback.changing_pause_s, trio.current_time)
        self.changes = Changes(
            self.store, self.content, self.naming, self.handles, config.writeback, self.doorbell, self.flights,
            self.clock, Labels(self.database, self.staging, self.content), churn,
        )  # fmt: skip
        self.filedata = FileData(
            self.store, self.changes, self.content, self.staging, self.downloader, self.locks,
            Freezer(self.staging, self.changes, churn, self.link), self.flights,
            self.handles, config.service.max_file_bytes, self.suspects,
        )  # fmt: skip
        self.settler = Settler(self.filedata)
        self.closer = Closer(self.store, self.changes, self.filedata, self.handles, self.settler.want)
        readback = Readback(self.client, self.remotes, config.writeback.readback_after_s)
        uploader = Uploader(
            self.store, self.changes, self.filedata, churn, self.flights, self.client, readback, self.link,
            self.service_clock,
        )  # fmt: skip
        deleter = Deleter(self.store, self.client, self.link, self.handles, self.flights, self.clock)
        self.writeback = Writeback(
            self.store, self.changes, self.filedata, self.settler, self.closer, churn, uploader, deleter, self.link,
            self.budget, self.handles, config.writeback, self.doorbell, self.clock, self.supervisor,
        )  # fmt: skip
        placer = Placer(self.store, self.changes, self.notifier, Ownership(os.getuid(), os.getgid()))
        remover = Remover(
            self.store, self.changes, self.content, self.staging, placer, self.trash, self.handles, config.refresh,
            self.service_clock, self.downloader.forget,
        )  # fmt: skip
        cadence = Cadence(self.budget, config.refresh, self.store.steady, self.remotes.known_count)
        renewer = Renewer(self.remotes, self.resizer, self.service_clock)
        lookout = Lookout(self.store, self.client, remover, renewer, self._view, cadence, config.refresh)
        merger = Merger(self.store, placer, renewer, self.handles.is_directory_open, self.service_clock)
        self.listings = Listings(
            self.store, self.client, merger, remover, cadence, config.refresh, self.service_clock, self.timekeeper,
            self._machine.wall,
        )  # fmt: skip
        self.refresh = Refresh(
            self.listings, self.link, config.refresh, cadence, lookout, self.suspects, refresh_bell
        )  # fmt: skip
        self.probe = Probe(self.link, self._ask_service, refresh_bell.ring)
        self.recovery = Recovery(
            self.store, self.changes, self.content, self.staging, self.filedata, self.trash
        )  # fmt: skip

    def _distrust(self, file_id: str) -> None:
        self.resizer.distrusted(file_id)

    async def _ask_service(self) -> None:
        """The smallest question that there is."""
        await self.patience.ask("the service", lambda ticket: self.client.list_page(None, priority=ticket, limit=1))

    def _remember_lanes(self, count: int) -> None:
        with suppress(LocalError):  # it is found out again
            self.meta.record(lanes=count)

    def _is_open(self, file_id: str) -> bool:
        return any(self.handles.is_open(inode.ino) for inode in self.tree.holders(file_id))

    def _build_fs(self, config: Config, settings: MountSettings) -> FileSystem:
        namespace = Namespace(self.store, self.changes, self.filedata, self.handles, ById(self.tree, self.remotes))
        files = Files(
            self.store, self.changes, self.filedata, self.settler, self.closer, self.writeback, self.handles, namespace,
            config.writeback, self.doorbell.ring,
            Scans(self.tree, self.filedata.prefetch, lambda: self.budget.limit_per_minute),
            Lengths(self.store, self.content, self.downloader, self.resizer, self.suspects),
        )  # fmt: skip
        attributes = Attributes(
            self.store, self.changes, self.filedata, self.flights, self.writeback, namespace, files, self.disk,
            config.service.storage_bytes, settings.state_dir / SOCKET_NAME,
        )  # fmt: skip
        return FileSystem(namespace, files, attributes, self.handles)


def _remembered_shape(service: ServiceConfig, shape: str | None) -> ServiceConfig:
    if service.shape != "auto" or shape is None:
        return service
    return msgspec.structs.replace(service, shape=cast("Shape", shape))
