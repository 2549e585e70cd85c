"""`remotefs dedupe`: removes copies that have piled up under one name.

Files of one remote name form a group, the one to keep first. A copy is removed by itself only where its bytes are on
this disk and equal to those of the one that is kept, byte for byte; any other only by its id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import BinaryIO

import trio

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.dedupe import DEDUPE, CopyFound, DedupeParams, DedupeResult
from remotefs.data.files.reader import FileReader
from remotefs.data.intents.paths import InodePaths
from remotefs.data.reconcile.refresh import Refresh
from remotefs.errors import InvalidArgument
from remotefs.mount.commands.entries import Entries
from remotefs.mount.commands.lookup import files_at, path_of_id
from remotefs.store.records import ContentState, Remote
from remotefs.store.store import Store
from remotefs.vfs.view import View

_PIECE_BYTES = 1 << 20


class DedupeCommands:
    """Compares the copies of one name and removes the surplus."""

    def __init__(
        self,
        store: Store,
        paths: InodePaths,
        reader: FileReader,
        refresh: Refresh,
        entries: Entries,
        view: View,
    ) -> None:
        self._store = store
        self._paths = paths
        self._reader = reader
        self._refresh = refresh
        self._entries = entries
        self._view = view

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [DEDUPE.bind(self.dedupe)]

    async def dedupe(self, params: DedupeParams, _: Report) -> DedupeResult:
        """Remove copies of one name: equal ones without being asked, others only by an id that was given by hand."""
        below = {file.ino for file in await files_at(self._store.tree, params.path)}
        groups: list[list[CopyFound]] = []
        for namesakes in self._store.remotes.namesakes():
            group = [remote for remote in namesakes if self._is_copy(remote)]
            if len(group) > 1 and any(remote.ino in below for remote in group):
                groups.append([copy async for copy in self._judged(group, keep_oldest=params.keep_oldest)])
        copies = [copy for group in groups for copy in group]
        by_hand = set(params.file_ids)
        unknown = by_hand - {copy.file_id for copy in copies}
        if unknown:
            raise InvalidArgument(f"{', '.join(sorted(unknown))}: no copy here has that id; `rm` removes any file")
        tombstoned = [c.file_id for c in copies if c.file_id in by_hand] if by_hand else self._surplus(groups)
        removed = 0
        if not params.dry_run:
            removed = sum([self._unlink(file_id) for file_id in tombstoned])
            self._refresh.wake()
        return DedupeResult(tuple(copies), removed)

    def _surplus(self, groups: list[list[CopyFound]]) -> list[str]:
        """Return the ids of copies that equal the one to keep.

        A group whose kept file has changed or gone while others were compared gives none.
        """
        found: list[str] = []
        for kept, *others in groups:
            if self._unchanged_copy(kept.file_id) is not None:
                found += [copy.file_id for copy in others if copy.verdict == "equal"]
        return found

    def _is_copy(self, remote: Remote) -> bool:
        """Return whether its name at the service is all that shows it, and the mount shows it.

        An alias or a further link is the user's own choice, and stays; so does what the user of this mount cannot see.
        """
        inode = self._store.tree.find(remote.ino) if remote.ino is not None else None
        if inode is None or inode.nlink != 1 or self._paths.is_alias(inode):
            return False
        return self._view.shows_inode(inode.ino)

    def _unchanged_copy(self, file_id: str) -> int | None:
        """Return the inode that shows an id, if that is still a copy and holds what the service has."""
        remote = self._store.remotes.find(file_id)
        is_unchanged = remote is not None and self._is_copy(remote) and self._is_as_remote(remote)
        return remote.ino if remote is not None and is_unchanged else None

    async def _judged(self, group: list[Remote], *, keep_oldest: bool) -> AsyncIterator[CopyFound]:
        kept, *others = reversed(group) if keep_oldest else group
        yield self._copy(kept, "kept")
        for other in others:
            yield self._copy(other, await self._compare(kept, other))

    async def _compare(self, kept: Remote, other: Remote) -> str:
        if kept.size != other.size:
            return "differs"
        if kept.size == 0:
            return "equal" if self._is_as_remote(kept) and self._is_as_remote(other) else "unknown"
        with ExitStack() as opened:
            files = [opened.enter_context(f) for r in (kept, other) if (f := await self._bytes_of(r)) is not None]
            if len(files) < 2:
                return "unknown"
            one, two = files
            return "equal" if await trio.to_thread.run_sync(are_equal, one, two) else "differs"

    async def _bytes_of(self, remote: Remote) -> BinaryIO | None:
        if remote.ino is None or not self._is_as_remote(remote):
            return None
        return await self._reader.open_source(remote.ino)

    def _is_as_remote(self, remote: Remote) -> bool:
        """Return whether the file here holds what the service has under that id."""
        inode = self._store.tree.find(remote.ino) if remote.ino is not None else None
        return inode is not None and inode.state == ContentState.CLEAN and inode.file_id == remote.file_id

    def _copy(self, remote: Remote, verdict: str) -> CopyFound:
        path = path_of_id(self._store, self._paths, remote.file_id) or remote.filename
        return CopyFound(path, remote.file_id, remote.size, verdict)

    def _unlink(self, file_id: str) -> bool:
        """Remove a copy, unless it has changed while others were compared. Return whether it was removed."""
        ino = self._unchanged_copy(file_id)
        if ino is None:
            return False
        self._entries.unlink(ino)
        return True


def are_equal(one: BinaryIO, other: BinaryIO) -> bool:
    """Return whether two files hold the same bytes; reads both up to the first difference."""
    return all(a == b for a, b in _pairs(one, other))


def _pairs(first: BinaryIO, second: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        pair = first.read(_PIECE_BYTES), second.read(_PIECE_BYTES)
        yield pair
        if not any(pair):
            return
