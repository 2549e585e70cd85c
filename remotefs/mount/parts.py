"""The composition root: every part of a mount, built once, each given what it works with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import msgspec
import trio

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.models import Account
from remotefs.config import Config, ServiceConfig, Shape
from remotefs.control.address import SOCKET_NAME
from remotefs.data.cadence import Cadence
from remotefs.data.changes import Changes
from remotefs.data.churn import Churn
from remotefs.data.closer import Closer
from remotefs.data.content import ContentStore
from remotefs.data.deletion import Deleter
from remotefs.data.disk import Disk
from remotefs.data.doorbell import Doorbell
from remotefs.data.download import Downloader
from remotefs.data.filedata import FileData
from remotefs.data.flights import Flights
from remotefs.data.freezer import Freezer
from remotefs.data.lanes import Lanes
from remotefs.data.lengths import Lengths
from remotefs.data.link import Link
from remotefs.data.listings import Listings
from remotefs.data.locks import InodeLocks
from remotefs.data.lookout import Lookout
from remotefs.data.memory import ChunkMemory
from remotefs.data.merging import Merger
from remotefs.data.placing import Ownership, Placer
from remotefs.data.readback import Readback
from remotefs.data.recovery import Recovery
from remotefs.data.refresh import Refresh
from remotefs.data.removal import Remover
from remotefs.data.scan import Scans
from remotefs.data.settler import Settler
from remotefs.data.staging import Staging
from remotefs.data.suspects import Suspects
from remotefs.data.trash import Trash
from remotefs.data.upload import Uploader
from remotefs.data.view import View
from remotefs.data.writeback import Writeback
from remotefs.errors import AccountError, LocalError
from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.settings import MountSettings
from remotefs.store.database import Database
from remotefs.store.meta import Meta
from remotefs.store.store import Store
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy


class Parts:
    """The parts of one mount, from the lowest layer up; `database` is open, and closed by whoever opened it.

    `wall` gives the time in ns since the epoch.
    """

    def __init__(self, settings: MountSettings, database: Database, *, wall: Callable[[], int] = time.time_ns) -> None:
        config, state = settings.config, settings.state_dir
        self.database = database
        self.store = store = Store.of(database, root_uid=os.getuid(), root_gid=os.getgid())
        self.meta, self.tree, self.journal, self.remotes = store.meta, store.tree, store.journal, store.remotes
        self._wall = wall
        self._view = View(self.tree, self.remotes)
        self.handles = Handles(self._view.note_listing)
        self.naming = NamePolicy(config.names)
        self.link = Link()
        self.doorbell = Doorbell()
        self.flights = Flights()
        self.notifier = KernelNotifier(self.handles.is_known)

        service = _remembered_shape(config.service, self.meta.facts.shape)
        self.budget = Budget.for_service(service)
        guard = AccountGuard(self.meta, self.link, service.base_url, str(state))
        self.client = Client(service, self.budget, on_account=guard.check)
        self.disk = Disk(state, config.cache)
        self.content = ContentStore(state / "content", config.cache, self.disk, database.durability, self._is_open)
        self.staging = Staging(state / "staging", self.disk, database.durability)
        self.trash = Trash(state / "trash")
        self.downloader = Downloader(
            self.client, self.content, ChunkMemory(config.cache.memory_bytes), config.cache,
            Lanes(self.meta.facts.lanes, self._remember_lanes),
            lambda: self.budget.limit_per_minute,
        )  # fmt: skip
        self._build_data(config)
        self.fs = self._build_fs(config, settings)

    def _build_data(self, config: Config) -> None:
        refresh_bell = Doorbell()
        self.suspects = Suspects(refresh_bell)
        churn = Churn(config.writeback.changing_pause_s, trio.current_time)
        self.changes = Changes(
            self.store, self.content, self.naming, self.handles, config.writeback, self.doorbell, self.flights, churn
        )
        self.filedata = FileData(
            self.store, self.changes, self.content, self.staging, self.downloader, InodeLocks(),
            Freezer(self.staging, self.changes, churn, self.link), self.flights,
            self.handles, config.service.max_file_bytes, self.suspects,
        )  # fmt: skip
        self.settler = Settler(self.filedata)
        self.closer = Closer(self.store, self.changes, self.filedata, self.handles, self.settler.want)
        readback = Readback(self.client, self.remotes, config.writeback.readback_after_s)
        uploader = Uploader(
            self.store, self.changes, self.filedata, churn, self.flights, self.client, readback, self.link
        )
        deleter = Deleter(self.store, self.client, self.link, self.handles, self.flights)
        self.writeback = Writeback(
            self.store, self.changes, self.filedata, self.settler, self.closer, churn, uploader, deleter, self.link,
            self.budget, self.handles, config.writeback, self.doorbell,
        )  # fmt: skip
        placer = Placer(self.store, self.changes, self.notifier, Ownership(os.getuid(), os.getgid()))
        remover = Remover(
            self.store, self.changes, self.content, self.staging, placer, self.trash, self.handles, config.refresh,
            self.downloader.forget,
        )  # fmt: skip
        cadence = Cadence(self.budget, config.refresh, self._wall, self.remotes.known_count)
        lookout = Lookout(self.store, self.client, remover, self._view, cadence, config.refresh, self._wall)
        merger = Merger(self.store, placer, self.handles.is_directory_open, self._server_time_ns)
        self.listings = Listings(
            self.store, self.client, merger, remover, cadence, config.refresh, self._server_time_ns, self._wall
        )
        self.refresh = Refresh(
            self.listings, self.link, config.refresh, cadence, lookout, self.suspects, refresh_bell
        )  # fmt: skip
        self.recovery = Recovery(
            self.store, self.changes, self.content, self.staging, self.filedata, self.trash
        )  # fmt: skip

    def _server_time_ns(self) -> int:
        return self.client.server_time_ns

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
            Lengths(self.store, self.content, self.downloader, self.notifier, self.handles),
        )  # fmt: skip
        attributes = Attributes(
            self.store, self.changes, self.filedata, self.flights, self.writeback, namespace, files, self.disk,
            config.service.storage_bytes, settings.state_dir / SOCKET_NAME,
        )  # fmt: skip
        return FileSystem(namespace, files, attributes, self.handles)


class AccountGuard:
    """S1: a state folder belongs to an account, by what the replies tell; the base URL only where they do not."""

    def __init__(self, meta: Meta, link: Link, base_url: str, state_dir: str) -> None:
        self._meta = meta
        self._link = link
        self._base_url = base_url
        self._state_dir = state_dir

    def check(self, account: Account) -> None:
        """Take the first account for the owner; of any other, stop all intents and raise AccountError."""
        facts = self._meta.facts
        if facts.organization is None and facts.workspace is None:
            self._meta.record(organization=account.organization, workspace=account.workspace)
            return
        if (facts.organization, facts.workspace) == (account.organization, account.workspace or facts.workspace):
            return
        error = AccountError(
            f"{self._state_dir} belongs to organization {facts.organization}, but {account.organization} answers: "
            "use a key of the first, or another --state-dir"
        )
        self._link.suspend(error)
        raise error


def _remembered_shape(service: ServiceConfig, shape: str | None) -> ServiceConfig:
    if service.shape != "auto" or shape is None:
        return service
    return msgspec.structs.replace(service, shape=cast("Shape", shape))
