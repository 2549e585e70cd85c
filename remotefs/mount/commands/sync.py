"""`remotefs sync`: the service follows renames that are true here alone."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.sync import SYNC, SyncParams, SyncResult
from remotefs.data.files.locator import Locator
from remotefs.data.files.reader import FileReader
from remotefs.data.intents.intents import Intents
from remotefs.mount.commands.lookup import files_at
from remotefs.store.records import ContentState, Inode
from remotefs.store.tree import Tree


class SyncCommands:
    """Has files uploaded again under the names that they have here."""

    def __init__(self, tree: Tree, intents: Intents, locator: Locator, reader: FileReader) -> None:
        self._tree = tree
        self._paths = intents.paths
        self._planner = intents.planner
        self._locator = locator
        self._reader = reader

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [SYNC.bind(self.sync)]

    async def sync(self, params: SyncParams, _: Report) -> SyncResult:
        """Make the service follow renames past W7's limits, and those of others' files. Return what that costs."""
        aliases = [file for file in await files_at(self._tree, params.path) if self._paths.is_alias(file)]
        movable = [file for file in aliases if self._is_movable(file)]
        moving = {file.ino for file in movable}
        if not params.dry_run:
            for file in movable:
                await self._follow(file.ino)
        return SyncResult(
            files=len(movable),
            bytes=sum(file.size for file in movable),
            requests=2 * len(movable) + sum(1 for file in movable if not self._locator.is_here(file)),
            unreadable=tuple(self._paths.path(file) or "" for file in aliases if file.ino not in moving),
        )

    def _is_movable(self, file: Inode) -> bool:
        is_clean = file.state == ContentState.CLEAN and file.nlink > 0
        return is_clean and self._paths.is_alias(file) and self._reader.is_readable(file)

    async def _follow(self, ino: int) -> None:
        """Have one file uploaded under its name here, unless it has changed while others were fetched."""
        file = self._tree.find(ino)
        if file is not None and self._is_movable(file):
            await self._reader.fetch(file)
            self._planner.reupload(ino)
