"""The composition root: every part of a mount, built once, each given what it works with."""

from __future__ import annotations

import os
from typing import cast

import msgspec

from remotefs.api.budget import Budget
from remotefs.api.client import Client
from remotefs.api.models import Account
from remotefs.config import Config, ServiceConfig, Shape
from remotefs.control.address import SOCKET_NAME
from remotefs.data.changes import Changes
from remotefs.data.content import ContentStore
from remotefs.data.deletion import Deleter
from remotefs.data.disk import Disk
from remotefs.data.doorbell import Doorbell
from remotefs.data.download import Downloader
from remotefs.data.filedata import FileData
from remotefs.data.flights import Flights
from remotefs.data.link import Link
from remotefs.data.locks import InodeLocks
from remotefs.data.memory import ChunkMemory
from remotefs.data.placing import Ownership, Placer
from remotefs.data.readback import Readback
from remotefs.data.recovery import Recovery
from remotefs.data.refresh import Refresh
from remotefs.data.removal import Remover
from remotefs.data.staging import Staging
from remotefs.data.suspects import Suspects
from remotefs.data.trash import Trash
from remotefs.data.upload import Uploader
from remotefs.data.writeback import Writeback
from remotefs.errors import AccountError
from remotefs.fuse.notify import KernelNotifier
from remotefs.mount.settings import MountSettings
from remotefs.store.database import Database
from remotefs.store.journal import Journal
from remotefs.store.meta import Meta
from remotefs.store.remotes import Remotes
from remotefs.store.tree import Tree
from remotefs.vfs.attributes import Attributes
from remotefs.vfs.byid import ById
from remotefs.vfs.files import Files
from remotefs.vfs.filesystem import FileSystem
from remotefs.vfs.handles import Handles
from remotefs.vfs.namespace import Namespace
from remotefs.vfs.policy import NamePolicy


class Parts:
    """The parts of one mount, from the lowest layer up; `database` is open, and closed by whoever opened it."""

    def __init__(self, settings: MountSettings, database: Database) -> None:
        config, state = settings.config, settings.state_dir
        self.database = database
        self.meta = Meta(database)
        self.tree = Tree(database, root_uid=os.getuid(), root_gid=os.getgid())
        self.journal = Journal(database)
        self.remotes = Remotes(database)
        self.handles = Handles()
        self.link = Link()
        self.doorbell = Doorbell()
        self.flights = Flights()
        self.notifier = KernelNotifier(self.handles.is_known)

        service = _remembered_shape(config.service, self.meta.facts.shape)
        self.budget = Budget.for_service(service)
        guard = AccountGuard(self.meta, self.link, service.base_url, str(state))
        self.client = Client(service, self.budget, on_account=guard.check)
        self.disk = Disk(state, config.cache)
        self.content = ContentStore(state / "content", config.cache, self.disk)
        self.staging = Staging(state / "staging", self.disk)
        self.trash = Trash(state / "trash")
        self.downloader = Downloader(self.client, self.content, ChunkMemory(config.cache.memory_bytes), config.cache)
        self._build_data(config)
        self.fs = self._build_fs(config, settings)

    def _build_data(self, config: Config) -> None:
        refresh_bell = Doorbell()
        self.suspects = Suspects(refresh_bell)
        self.changes = Changes(
            self.database, self.tree, self.journal, self.remotes, self.content, NamePolicy(config.names), self.handles,
            config.writeback, self.doorbell,
        )  # fmt: skip
        self.filedata = FileData(
            self.database, self.tree, self.remotes, self.changes, self.content, self.staging, self.downloader,
            InodeLocks(), self.flights, self.handles, config.service.max_file_bytes,
            self.suspects,
        )  # fmt: skip
        uploader = Uploader(
            self.database, self.tree, self.journal, self.remotes, self.changes, self.filedata, self.flights,
            self.client, Readback(self.client, self.remotes, config.writeback.readback_after_s), self.link,
        )  # fmt: skip
        deleter = Deleter(self.database, self.tree, self.journal, self.remotes, self.client, self.link, self.handles)
        self.writeback = Writeback(
            self.tree, self.journal, self.changes, self.content, self.filedata, uploader, deleter, self.link,
            self.budget, self.handles, config.writeback, self.doorbell,
        )  # fmt: skip
        placer = Placer(
            self.tree, self.journal, self.remotes, self.changes, self.notifier, Ownership(os.getuid(), os.getgid())
        )
        remover = Remover(
            self.database, self.tree, self.journal, self.remotes, self.meta, self.changes, self.content, placer,
            self.trash, self.handles, config.refresh, self.downloader.forget,
        )  # fmt: skip
        self.refresh = Refresh(
            self.database, self.tree, self.journal, self.remotes, self.meta, placer, self.client, self.budget,
            self.link, config.refresh, self.handles.is_directory_open, remover, lambda: self.client.server_time_ns,
            self.suspects, refresh_bell,
        )  # fmt: skip
        self.recovery = Recovery(
            self.database,
            self.tree,
            self.journal,
            self.remotes,
            self.changes,
            self.content,
            self.staging,
            self.filedata,
        )

    def _build_fs(self, config: Config, settings: MountSettings) -> FileSystem:
        namespace = Namespace(
            self.database, self.tree, self.changes, self.filedata, self.handles, ById(self.tree, self.remotes)
        )
        files = Files(
            self.tree, self.journal, self.changes, self.filedata, self.writeback, self.handles, namespace,
            config.writeback, self.doorbell.ring,
        )  # fmt: skip
        attributes = Attributes(
            self.tree, self.journal, self.remotes, self.changes, self.filedata, self.flights, self.writeback, namespace,
            files, self.disk, settings.state_dir / SOCKET_NAME,
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
