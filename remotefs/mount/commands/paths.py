"""`remotefs id` and `path`: from a path to the id of its file and back."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.paths import (
    IDENTIFY,
    PATHS,
    FileIdentity,
    IdentifyParams,
    PathsParams,
    PathsResult,
)
from remotefs.data.intents.paths import InodePaths
from remotefs.errors import InvalidArgument, TransportError
from remotefs.mount.commands.lookup import path_of_id, resolve
from remotefs.mount.commands.pending import Drain
from remotefs.store.records import ContentState
from remotefs.store.store import Store
from remotefs.vfs.xattrs import ExtendedAttributes


class PathCommands:
    """Translates between paths and file ids."""

    def __init__(self, store: Store, paths: InodePaths, drain: Drain, xattrs: ExtendedAttributes) -> None:
        self._store = store
        self._paths = paths
        self._drain = drain
        self._xattrs = xattrs

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [IDENTIFY.bind(self.identify), PATHS.bind(self.paths)]

    async def identify(self, params: IdentifyParams, report: Report) -> FileIdentity:
        """Return the file of the service that a path shows; its pending changes are sent first.

        Raises NotFound, InvalidArgument for anything but a regular file, TransportError when the service does not get
        it in time.
        """
        inode = resolve(self._store.tree, params.path)
        if not inode.is_file:
            raise InvalidArgument(f"{params.path or '/'}: only a regular file is a file of the service")
        await self._drain.close_dirty([inode])
        result = await self._drain.run(params.timeout_s, report, {inode.ino})
        # A program that saves by a rename has put another file in its place meanwhile.
        inode = resolve(self._store.tree, params.path)
        remote = self._store.remotes.find(inode.file_id) if inode.file_id else None
        if remote is None or inode.state != ContentState.CLEAN:
            reasons = "; ".join(leftover.reason for leftover in result.leftovers)
            raise TransportError(f"{params.path}: the service does not have it: {reasons or self._xattrs.state(inode)}")
        return FileIdentity(file_id=remote.file_id, filename=remote.filename, mime_type=remote.mime_type)

    async def paths(self, params: PathsParams, _: Report) -> PathsResult:
        """Return the path of each id, None where the tree has no such file."""
        return PathsResult(tuple(path_of_id(self._store, self._paths, file_id) for file_id in params.file_ids))
