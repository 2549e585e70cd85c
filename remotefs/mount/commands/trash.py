"""The commands that keep a mount tidy: trash, accept-removals, path, sync, dedupe."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO

import trio

from remotefs.control.messages.base import Command, Count, Nothing, Report
from remotefs.control.messages.dedupe import DEDUPE, CopyFound, DedupeParams, DedupeResult
from remotefs.control.messages.paths import PATHS, PathsParams, PathsResult
from remotefs.control.messages.sync import SYNC, SyncParams, SyncResult
from remotefs.control.messages.trash import (
    ACCEPT_REMOVALS,
    TRASH_EMPTY,
    TRASH_LIST,
    TRASH_RESTORE,
    EmptyParams,
    PathResult,
    RestoreParams,
    TrashEntry,
    TrashListing,
)
from remotefs.data.content.trash import Trashed
from remotefs.errors import AlreadyExists, InvalidArgument, NotADirectory, NotFound
from remotefs.mount.assembly import Components
from remotefs.store.records import ContentState, Inode, Remote

_PIECE_BYTES = 1 << 20
_FILES_A_TURN = 500


@dataclass(frozen=True)
class _Owner:
    """Whose a file is that a command makes: the mount's root's."""

    uid: int
    gid: int


class Upkeep:
    """One method a command."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts

    def all(self) -> list[Command]:
        """Each command with its endpoint."""
        return [
            ACCEPT_REMOVALS.bind(self.accept_removals),
            TRASH_LIST.bind(self.list_trash),
            TRASH_RESTORE.bind(self.restore),
            TRASH_EMPTY.bind(self.empty_trash),
            PATHS.bind(self.paths),
            SYNC.bind(self.sync),
            DEDUPE.bind(self.dedupe),
        ]

    # -- removals and trash

    async def accept_removals(self, _: Nothing, __: Report) -> Count:
        """A person has looked: what the listing lacks is gone (S1). How many files went."""
        before = self._parts.remotes.shown_count()
        await self._parts.refresh.accept_removals()
        return Count(max(0, before - self._parts.remotes.shown_count()))

    async def list_trash(self, _: Nothing, __: Report) -> TrashListing:
        """What the trash holds."""
        return TrashListing(
            tuple(
                TrashEntry(entry.number, entry.path, entry.file_id, entry.size, entry.removed_at, entry.reason)
                for entry in self._parts.trash.entries()
            )
        )

    async def restore(self, params: RestoreParams, _: Report) -> PathResult:
        """Put a trashed file back into the tree, to be uploaded as a new one."""
        entry = self._parts.trash.find(params.number)
        path = params.path or entry.path
        made: list[tuple[int, str]] = []
        self._check_free(path)
        await self._parts.file_bytes.create(
            self._parts.trash.bytes_of(entry.number), entry.size, lambda: self._make_file(path, entry, made)
        )
        self._parts.trash.remove(entry.number)
        for parent, name in made:
            self._parts.notifier.entry(parent, name)
        return PathResult(path)

    def _check_free(self, path: str) -> None:
        if self._parts.tree.resolve(path) is not None:
            raise AlreadyExists(f"{path} exists; give another path with --to")

    def _make_file(self, path: str, entry: Trashed, made: list[tuple[int, str]]) -> Inode:
        """An empty file with the attributes of a trashed one, and its folders; the entries go to `made`."""
        self._check_free(path)
        folder, _slash, name = path.rpartition("/")
        parent = self._make_folders(folder, made)
        owner = _Owner(parent.uid, parent.gid)
        mode = stat.S_IFREG | stat.S_IMODE(entry.mode)
        inode = self._parts.fs.namespace.mknod(parent.ino, name.encode(), mode, 0, owner)
        made.append((parent.ino, name))
        return self._parts.tree.update(inode.ino, mtime_ns=entry.mtime_ns)

    async def empty_trash(self, params: EmptyParams, _: Report) -> Count:
        """Remove for good."""
        return Count(self._parts.trash.empty(older_than_days=params.older_than_days))

    def _make_folders(self, path: str, made: list[tuple[int, str]]) -> Inode:
        inode = resolve(self._parts, "")
        for name in path.split("/") if path else ():
            found = self._parts.tree.lookup(inode.ino, name)
            if found is None:
                owner = _Owner(inode.uid, inode.gid)
                found = self._parts.fs.namespace.mkdir(inode.ino, name.encode(), 0o755, owner)
                made.append((inode.ino, name))
            if not found.is_dir:
                raise NotADirectory(f"{name} in {path} is not a directory; give another path with --to")
            inode = found
        return inode

    # -- by id

    async def paths(self, params: PathsParams, _: Report) -> PathsResult:
        """Where ids are."""
        return PathsResult(tuple(self._path_of(file_id) for file_id in params.file_ids))

    def _path_of(self, file_id: str) -> str | None:
        remote = self._parts.remotes.find(file_id)
        inode = self._parts.tree.find(remote.ino) if remote is not None and remote.ino is not None else None
        return self._parts.planner.path(inode) if inode is not None else None

    # -- sync

    async def sync(self, params: SyncParams, _: Report) -> SyncResult:
        """Make the service follow renames that went past W7's limits, or that are of others' files."""
        aliases = [file for file in await files_at(self._parts, params.path) if self._parts.planner.is_alias(file)]
        movable = [file for file in aliases if self._is_movable(file)]
        moving = {file.ino for file in movable}
        if not params.dry_run:
            for file in movable:
                await self._follow(file.ino)
        return SyncResult(
            files=len(movable),
            bytes=sum(file.size for file in movable),
            requests=2 * len(movable) + sum(1 for file in movable if not self._parts.file_bytes.is_here(file)),
            unreadable=tuple(self._parts.planner.path(file) or "" for file in aliases if file.ino not in moving),
        )

    def _is_movable(self, file: Inode) -> bool:
        is_clean = file.state == ContentState.CLEAN and file.nlink > 0
        return is_clean and self._parts.planner.is_alias(file) and self._parts.file_bytes.is_readable(file)

    async def _follow(self, ino: int) -> None:
        """Have one file uploaded under its name here, unless it has changed while others were fetched."""
        file = self._parts.tree.find(ino)
        if file is not None and self._is_movable(file):
            await self._parts.file_bytes.fetch(file)
            self._parts.planner.reupload(ino)

    # -- dedupe

    async def dedupe(self, params: DedupeParams, _: Report) -> DedupeResult:
        """Remove copies of one name: equal ones by themselves, others only by an id that was given by hand."""
        below = {file.ino for file in await files_at(self._parts, params.path)}
        groups: list[list[CopyFound]] = []
        for namesakes in self._parts.remotes.namesakes():
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
            self._parts.refresh.wake()
        return DedupeResult(tuple(copies), removed)

    def _surplus(self, groups: list[list[CopyFound]]) -> list[str]:
        """The ids of copies that equal the one to keep, where that is still here: comparing others takes a while."""
        found: list[str] = []
        for kept, *others in groups:
            if self._unchanged_copy(kept.file_id) is not None:
                found += [copy.file_id for copy in others if copy.verdict == "equal"]
        return found

    def _is_copy(self, remote: Remote) -> bool:
        """Whether its name at the service is all that shows it: an alias or a further link is the user's own choice."""
        inode = self._parts.tree.find(remote.ino) if remote.ino is not None else None
        return inode is not None and inode.nlink == 1 and not self._parts.planner.is_alias(inode)

    def _unchanged_copy(self, file_id: str) -> int | None:
        """The inode that shows an id, if that is still a copy and holds what the service has."""
        remote = self._parts.remotes.find(file_id)
        is_unchanged = remote is not None and self._is_copy(remote) and self._is_settled(remote)
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
            return "equal" if self._is_settled(kept) and self._is_settled(other) else "unknown"
        with ExitStack() as opened:
            files = [opened.enter_context(f) for r in (kept, other) if (f := await self._bytes_of(r)) is not None]
            if len(files) < 2:
                return "unknown"
            one, two = files
            return "equal" if await trio.to_thread.run_sync(are_equal, one, two) else "differs"

    async def _bytes_of(self, remote: Remote) -> BinaryIO | None:
        if remote.ino is None or not self._is_settled(remote):
            return None
        return await self._parts.file_bytes.open_source(remote.ino)

    def _is_settled(self, remote: Remote) -> bool:
        """Whether the file here holds what the service has under that id."""
        inode = self._parts.tree.find(remote.ino) if remote.ino is not None else None
        return inode is not None and inode.state == ContentState.CLEAN and inode.file_id == remote.file_id

    def _copy(self, remote: Remote, verdict: str) -> CopyFound:
        return CopyFound(self._path_of(remote.file_id) or remote.filename, remote.file_id, remote.size, verdict)

    def _unlink(self, file_id: str) -> bool:
        """Remove a copy; not what changed while the others were compared. Whether it went."""
        ino = self._unchanged_copy(file_id)
        if ino is None:
            return False
        [(parent, name)] = self._parts.tree.names_of(ino)
        self._parts.fs.namespace.unlink(parent, name.encode())
        self._parts.notifier.entry(parent, name)
        return True


def resolve(parts: Components, path: str) -> Inode:
    """What a path of the mount names. Raises NotFound."""
    inode = parts.tree.resolve(path)
    if inode is None:
        raise NotFound(f"{path}: no such file or directory in this mount")
    return inode


async def files_at(parts: Components, path: str) -> list[Inode]:
    """The file of that path, or every regular file beneath the folder; others have their turns. Raises NotFound."""
    inode = resolve(parts, path)
    if not inode.is_dir:
        return [inode]
    found = []
    for file in parts.tree.files_beneath(inode.ino):
        found.append(file)
        if len(found) % _FILES_A_TURN == 0:
            await trio.lowlevel.checkpoint()
    return found


def are_equal(one: BinaryIO, other: BinaryIO) -> bool:
    """Whether two files hold the same bytes; reads both to the first difference."""
    return all(a == b for a, b in _pairs(one, other))


def _pairs(first: BinaryIO, second: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while True:
        pair = first.read(_PIECE_BYTES), second.read(_PIECE_BYTES)
        yield pair
        if not any(pair):
            return
