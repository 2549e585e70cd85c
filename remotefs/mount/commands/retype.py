"""`remotefs retype`: files that were uploaded earlier get the types that they would get now (M1)."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from remotefs.api.mime import HEAD_BYTES, is_same_type
from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.retype import RETYPE, RetypeParams, RetypeResult
from remotefs.data.files.reader import FileReader
from remotefs.data.intents.intents import Intents
from remotefs.mount.commands.lookup import files_at
from remotefs.store.records import ContentState, Inode, Origin, Remote
from remotefs.store.store import Store


@dataclass
class _Found:
    """The files below a path that are uploaded again, and the numbers of those that cannot be."""

    again: list[Inode] = field(default_factory=list)
    of_others: int = 0
    not_here: int = 0


class RetypeCommands:
    """Has files uploaded again whose type at the service is not the one that their bytes and names ask for."""

    def __init__(self, store: Store, intents: Intents, reader: FileReader) -> None:
        self._db = store.database
        self._tree = store.tree
        self._remotes = store.remotes
        self._paths = intents.paths
        self._planner = intents.planner
        self._options = intents.upload_options
        self._reader = reader

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [RETYPE.bind(self.retype)]

    async def retype(self, params: RetypeParams, _: Report) -> RetypeResult:
        """Upload again what has another type than it would get now. Return what that costs.

        Files of others keep their types. An edit keeps a generated file beside it (W8), so that all outputs would
        double. Raises NotFound.
        """
        found = _Found()
        for file in await files_at(self._tree, params.path):
            await self._look_at(file, found)
        if not params.dry_run:
            for file in found.again:
                self._upload_again(file.ino)
                await trio.lowlevel.checkpoint()
        return RetypeResult(
            files=len(found.again),
            bytes=sum(file.size for file in found.again),
            requests=2 * len(found.again),
            of_others=found.of_others,
            not_here=found.not_here,
        )

    async def _look_at(self, file: Inode, found: _Found) -> None:
        remote = self._confirmed(file)
        if remote is None:
            return
        if remote.origin == Origin.FOREIGN:
            found.of_others += 1
        elif not self._reader.is_here(file):
            found.not_here += 1
        elif not is_same_type(self._options.type_of(file, await self._head(file.ino)), remote.mime_type):
            found.again.append(file)

    def _confirmed(self, file: Inode) -> Remote | None:
        """Return the remote file of one that the service has as it is here; None where an upload is pending anyway."""
        is_settled = file.state == ContentState.CLEAN and file.nlink > 0 and not self._options.is_pending(file.ino)
        if not file.is_file or not is_settled or file.file_id is None or self._paths.is_local(file):
            return None
        return self._remotes.find(file.file_id)

    async def _head(self, ino: int) -> bytes:
        source = await self._reader.open_source(ino)
        if source is None:
            return b""
        with source:
            return await trio.to_thread.run_sync(source.read, HEAD_BYTES)

    def _upload_again(self, ino: int) -> None:
        file = self._tree.find(ino)
        if file is not None and self._confirmed(file) is not None:
            with self._db.transaction():
                self._options.ask(ino)
                self._planner.schedule(file)
