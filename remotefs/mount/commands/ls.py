"""The files below paths for `ls` and `id`, from the tree alone, and the sums of contents that are on this disk.

A page looks at a bounded number of names, and other tasks of the mount run within it (H8). Nothing of a page is kept
for the next one: that begins after the path where this one ended, whatever has come or gone meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import msgspec
import trio
import xxhash

from remotefs.control.messages.base import Command, Report, Warming
from remotefs.control.messages.ls import (
    LS,
    SOURCES,
    SUMS,
    FilesParams,
    ListedFile,
    LsPage,
    LsParams,
    SourcesResult,
    SumsResult,
)
from remotefs.data.content.store import ContentStore
from remotefs.data.files.locator import Locator
from remotefs.data.files.reader import FileReader
from remotefs.errors import InvalidArgument, NotFound, RemotefsError
from remotefs.mount.commands.lookup import in_order, resolve
from remotefs.mount.turns import Turns
from remotefs.store.records import ContentState, Inode, Origin
from remotefs.store.store import Store
from remotefs.vfs.view import View
from remotefs.vfs.xattrs import ExtendedAttributes

# Names that a page looks at, and after how many of them other tasks run: some 4 ms.
_PAGE = 500
# The characters of a page's paths: however deep the tree, a reply stays well below what a caller reads of one.
_PAGE_CHARACTERS = 500_000
_NAMES_A_TURN = 25
_PIECE_BYTES = 1 << 20
# The end of a page after a path itself, before anything below it: no relative path is called so.
_ITSELF = "."


class LsCommands:
    """Lists files with all that is known of them, and reads those that are here for their sums.

    `now_ns` is the service's clock.
    """

    def __init__(
        self,
        store: Store,
        xattrs: ExtendedAttributes,
        content: ContentStore,
        locator: Locator,
        reader: FileReader,
        view: View,
        now_ns: Callable[[], int],
    ) -> None:
        self._store = store
        self._xattrs = xattrs
        self._content = content
        self._locator = locator
        self._reader = reader
        self._view = view
        self._now_ns = now_ns

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [LS.bind(self.ls), SUMS.bind(self.sums), SOURCES.bind(self.sources)]

    async def ls(self, params: LsParams, _: Report) -> LsPage:
        """Return a page of the files at and below some paths.

        Raises NotFound for a path that is not there unless it may be skipped, InvalidArgument for one that is neither a
        file nor a folder.
        """
        if not self._content.is_scanned:
            await self._content.scan()
        files: list[ListedFile] = []
        is_any_pending = self._store.journal.is_longer_than(0)
        is_any_renamed = self._store.renames.first() is not None
        length, turns = 0, Turns(_NAMES_A_TURN)
        for looked_at, (place, below, inode) in enumerate(self._names(params), start=1):
            if inode.is_file and (not below or self._view.shows(f"{params.paths[place]}/{below}".lstrip("/"))):
                pending = is_any_renamed or (is_any_pending and self._store.journal.of_inode(inode.ino) is not None)
                files.append(self._listed(inode, place, params.paths[place], below, pending=pending))
            length += len(params.paths[place]) + len(below)
            if looked_at == _PAGE or length >= _PAGE_CHARACTERS:
                return LsPage(files=tuple(files), place=place, after=below or _ITSELF, now_ns=self._now_ns())
            await turns.step()
        return LsPage(files=tuple(files), now_ns=self._now_ns())

    def _names(self, params: LsParams) -> Iterator[tuple[int, str, Inode]]:
        """Yield all that lies at and below the paths: the position of the path, the path below it, and the inode."""
        tree, after = self._store.tree, params.after
        for place in range(params.place, len(params.paths)):
            path = params.paths[place]
            root = tree.resolve(path) if self._view.shows(path) else None
            if root is None and not (params.skip_missing or after):
                raise NotFound(f"{path or '/'}: no such file or directory in this mount")
            if root is not None and not (root.is_file or root.is_dir):
                raise InvalidArgument(
                    f"{path}: neither a regular file nor a folder, so it is not a file of the service"
                )
            if root is not None and not after:
                yield place, "", root
            if root is not None and root.is_dir:
                below = in_order(tree, root, "" if after == _ITSELF else after)
                yield from ((place, name, inode) for name, inode in below)
            after = ""

    def _listed(self, inode: Inode, place: int, path: str, below: str, *, pending: bool) -> ListedFile:
        remote = self._locator.bound(inode)
        is_here = self._locator.is_here(inode)
        listed = ListedFile(
            place=place,
            below=below,
            path="/".join(filter(None, (path, below))),
            size=inode.size,
            modified_ns=inode.mtime_ns,
            state=self._xattrs.state(inode),
            pending=pending,
            readable=is_here or (remote is not None and bool(remote.downloadable)),
            here=is_here,
        )
        if remote is None or inode.state != ContentState.CLEAN:
            return listed
        return msgspec.structs.replace(
            listed,
            file_id=remote.file_id,
            mime_type=remote.mime_type,
            digest=remote.digest,
            created_ns=remote.created_ns,
            expires_ns=remote.expires_ns,
            downloadable=bool(remote.downloadable),
            generated=bool(remote.downloadable) and remote.origin == Origin.FOREIGN,
        )

    async def sums(self, params: FilesParams, report: Report) -> SumsResult:
        """Return the sums of files whose bytes are on this disk."""
        digests: list[str | None] = []
        for path in params.paths:
            digests.append(await self._sum(path))
            report(Warming(files_done=len(digests), files=len(params.paths), bytes_done=0, bytes=0))
        return SumsResult(tuple(digests))

    async def sources(self, params: FilesParams, _: Report) -> SourcesResult:
        """Return where the bytes of files lie on this disk.

        A reader that goes through the mount in the order of names would have the next files fetched.
        """
        sources, turns = list[str | None](), Turns(_NAMES_A_TURN)
        for path in params.paths:
            sources.append(self._source(path))
            await turns.step()
        return SourcesResult(tuple(sources))

    def _source(self, path: str) -> str | None:
        inode = self._store.tree.resolve(path)
        if inode is None or not inode.is_file:
            return None
        try:
            source = self._locator.source_of(inode)
        except RemotefsError:
            return None  # damaged
        return None if source is None else str(source)

    async def _sum(self, path: str) -> str | None:
        try:
            inode = resolve(self._store.tree, path)
            if not inode.is_file or inode.state == ContentState.DIRTY or not self._locator.is_here(inode):
                return None
            digest = await self._read(inode)
        except (RemotefsError, OSError):
            return None  # gone, or damaged: nothing is known of what it holds
        now = self._store.tree.find(inode.ino)
        is_same = now is not None and (now.content_gen, now.size) == (inode.content_gen, inode.size)
        return digest if is_same else None

    async def _read(self, inode: Inode) -> str | None:
        if inode.size == 0:
            return xxhash.xxh3_128_hexdigest(b"")
        source = await self._reader.open_source(inode.ino)
        if source is None:
            return None
        with source:
            return await trio.to_thread.run_sync(_digest, source)


def _digest(source: BinaryIO) -> str:
    """Return the xxh3-128 of a file in hex."""
    digest = xxhash.xxh3_128()
    for piece in _pieces(source):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_PIECE_BYTES):
        yield piece
