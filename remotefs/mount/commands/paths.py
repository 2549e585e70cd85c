"""`remotefs id` and `path`: from a path to the id of its file and back."""

from __future__ import annotations

from remotefs.control.messages.base import Command, DrainResult, Report
from remotefs.control.messages.paths import ARRIVE, PATHS, ArriveParams, PathsParams, PathsResult
from remotefs.data.intents.paths import InodePaths
from remotefs.mount.commands.lookup import path_of_id, resolve
from remotefs.mount.commands.pending import Drain
from remotefs.store.store import Store
from remotefs.vfs.view import View


class PathCommands:
    """Translates between paths and file ids."""

    def __init__(self, store: Store, paths: InodePaths, drain: Drain, view: View) -> None:
        self._store = store
        self._paths = paths
        self._drain = drain
        self._view = view

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [ARRIVE.bind(self.arrive), PATHS.bind(self.paths)]

    async def arrive(self, params: ArriveParams, report: Report) -> DrainResult:
        """Wait until the service has some files; their pending changes are sent first. Return what is left.

        Raises NotFound.
        """
        files = [resolve(self._store.tree, path) for path in params.paths]
        await self._drain.close_dirty(files)
        return await self._drain.run(params.timeout_s, report, {file.ino for file in files})

    async def paths(self, params: PathsParams, _: Report) -> PathsResult:
        """Return the path of each id, None where the mount shows no such file."""
        found = (path_of_id(self._store, self._paths, file_id) for file_id in params.file_ids)
        return PathsResult(tuple(path if path is not None and self._view.shows(path) else None for path in found))
