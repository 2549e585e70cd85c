"""The trash, and the removals that a person has to accept: `trash list`, `restore`, `empty`, `accept-removals`."""

from __future__ import annotations

import trio

from remotefs.control.messages.base import Command, Count, Nothing, Report
from remotefs.control.messages.trash import (
    ACCEPT_REMOVALS,
    TRASH_EMPTY,
    TRASH_LIST,
    TRASH_RESTORE,
    EmptyParams,
    PathResult,
    Removals,
    RestoreParams,
    TrashEntry,
    TrashListing,
)
from remotefs.data.content.trash import Trash, Trashed
from remotefs.data.files.writer import FileWriter
from remotefs.data.reconcile.refresh import Refresh
from remotefs.data.share.janitor import Janitor
from remotefs.errors import RemotefsError
from remotefs.mount.commands.entries import Entries
from remotefs.store.records import Inode
from remotefs.store.store import Store


class TrashCommands:
    """Carries out the commands about files that went away at the service."""

    def __init__(
        self,
        store: Store,
        trash: Trash,
        refresh: Refresh,
        janitor: Janitor | None,
        writer: FileWriter,
        entries: Entries,
    ) -> None:
        self._store = store
        self._trash = trash
        self._refresh = refresh
        self._janitor = janitor
        self._writer = writer
        self._entries = entries

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [
            ACCEPT_REMOVALS.bind(self.accept_removals),
            TRASH_LIST.bind(self.list_trash),
            TRASH_RESTORE.bind(self.restore),
            TRASH_EMPTY.bind(self.empty_trash),
        ]

    async def accept_removals(self, _: Nothing, __: Report) -> Removals:
        """Remove the files that the listing lacks, and objects that wait, because a person has looked (S1, X6)."""
        before = self._store.remotes.shown_count()
        await self._refresh.accept_removals()
        count, objects, trouble = max(0, before - self._store.remotes.shown_count()), 0, None
        try:
            objects = await self._janitor.accept() if self._janitor is not None else 0
        except RemotefsError as error:
            # The files are removed all the same.
            trouble = str(error)
        return Removals(count=count, objects=objects, trouble=trouble)

    async def list_trash(self, _: Nothing, __: Report) -> TrashListing:
        """Return what the trash holds."""
        return TrashListing(
            tuple(
                TrashEntry(entry.number, entry.path, entry.file_id, entry.size, entry.removed_at, entry.reason)
                for entry in await trio.to_thread.run_sync(self._trash.entries)
            )
        )

    async def restore(self, params: RestoreParams, _: Report) -> PathResult:
        """Put a trashed file back into the tree, to be uploaded as a new one. Return its path."""
        entry = await trio.to_thread.run_sync(self._trash.find, params.number)
        path = params.path or entry.path
        made: list[tuple[int, str]] = []
        self._entries.check_free(path)
        await self._writer.create(
            self._trash.bytes_of(entry.number), entry.size, lambda: self._make_file(path, entry, made)
        )
        self._trash.remove(entry.number)
        self._entries.report(made)
        return PathResult(path)

    def _make_file(self, path: str, entry: Trashed, made: list[tuple[int, str]]) -> Inode:
        inode = self._entries.make_file(path, entry.mode, made)
        return self._store.tree.update(inode.ino, mtime_ns=entry.mtime_ns)

    async def empty_trash(self, params: EmptyParams, _: Report) -> Count:
        """Remove files of the trash for good. Return how many."""
        return Count(await self._trash.empty(older_than_days=params.older_than_days))
