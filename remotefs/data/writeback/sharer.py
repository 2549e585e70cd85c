"""Puts the bytes of uploads into the shared store (X1, X2).

    bound, with a row ─► find the bytes ─► sums ─► put the object ─► the row says so

Each row is carried out until it succeeds, or until nobody needs its id any more. The bytes are those that the service
confirmed: they lie in staging or in the content store. If a program writes to the file meanwhile, the put ends without
an object, because a chunk does not match its checksum; the new version gets an id and a row of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import trio

from remotefs import crashpoints
from remotefs.backoff import backoff_s
from remotefs.clocks import SteadyClock
from remotefs.data.content.chunks import Sums
from remotefs.data.content.file import hash_file
from remotefs.data.files.reader import FileReader
from remotefs.data.share.contents import SharedContents
from remotefs.data.share.header import encode, header_bytes, layout_of
from remotefs.data.writeback.waiters import Waiters
from remotefs.errors import CorruptionError, ObjectStoreUnreachable, ObjectStoreUnusable, RemotefsError
from remotefs.store.records import ContentState, Inode, Remote, Share
from remotefs.store.store import Store
from remotefs.supervision import Supervisor

_log = logging.getLogger(__name__)
_NS = 1_000_000_000
# A row that failed is tried again after a pause, doubled up to the longest.
_FIRST_RETRY_S, _MAX_RETRY_S = 5.0, 3600.0
# The longest sleep: the clock of trio stands still while the machine is suspended.
_LONGEST_PAUSE_S = 60.0
# The bytes that are read from the disk at one time, in chunks of an object.
_CHUNKS_A_PIECE = 8


class _Superseded(RemotefsError):
    """The bytes of an id are not here, because a program has written a newer version over them."""


class Sharer:
    """Carries out the rows of `share`, `workers` at one time; those that a close waits for first."""

    def __init__(
        self,
        store: Store,
        contents: SharedContents,
        reader: FileReader,
        waiters: Waiters,
        supervisor: Supervisor,
        *,
        workers: int,
    ) -> None:
        self._tree = store.tree
        self._remotes = store.remotes
        self._shares = store.shares
        self._clock: SteadyClock = store.steady
        self._contents = contents
        self._reader = reader
        self._waiters = waiters
        self._supervisor = supervisor
        self._workers = workers
        # Invariant: the ids whose task runs.
        self._running: set[str] = set()

    def is_putting(self, file_id: str) -> bool:
        """Return whether the bytes of an id are on their way into the store right now."""
        return file_id in self._running

    @property
    def is_at_work(self) -> bool:
        """Return whether any bytes are on their way into the store right now."""
        return bool(self._running)

    async def run(self) -> None:
        """Put what is due until cancelled; without a shared store nothing ever is."""
        # This mount may have other credentials than the one before.
        self._shares.hurry()
        async with trio.open_nursery() as nursery:
            while self._contents.is_configured:
                pause_s = self._start_due(nursery)
                with trio.move_on_after(pause_s):
                    await self._waiters.progress()

    def _start_due(self, nursery: trio.Nursery) -> float:
        """Start what is due, as far as there are workers; return how long nothing else becomes due (s)."""
        if not self._contents.is_up:
            return _LONGEST_PAUSE_S
        now_ns, room = self._clock(), self._workers - len(self._running)
        due = self._shares.due(now_ns, self._workers) if room > 0 else []
        chosen = {share.file_id: share for share in [*self._waited_for(), *due] if share.file_id not in self._running}
        for share in list(chosen.values())[: max(room, 0)]:
            self._running.add(share.file_id)
            nursery.start_soon(self._carry_out, share)
        next_ns = self._shares.next_due_ns(now_ns)
        return _LONGEST_PAUSE_S if next_ns is None else min((next_ns - now_ns) / _NS, _LONGEST_PAUSE_S)

    def _waited_for(self) -> Iterator[Share]:
        for ino in self._waiters.inos:
            inode = self._tree.find(ino)
            share = self._shares.find(inode.file_id) if inode is not None and inode.file_id else None
            if share is not None and self._contents.is_awaited(share.file_id):
                yield share

    async def _carry_out(self, share: Share) -> None:
        work = partial(self._share, share)
        try:
            if not await self._supervisor.guard(f"putting {share.file_id} into the shared store", work):
                self._put_off(share, "a mistake of remotefs; see the log")
        finally:
            self._running.discard(share.file_id)
            self._waiters.notify()

    async def _share(self, share: Share) -> None:
        remote = self._remotes.find(share.file_id)
        if remote is None or remote.tombstoned:
            self._shares.drop(share.file_id)
            return
        try:
            await self._put(remote)
        except (ObjectStoreUnreachable, ObjectStoreUnusable):
            # The connection knows, and has said so; this id has done nothing wrong.
            self._put_off(share, None)
        except _Superseded as error:
            self._put_off(share, str(error))
        except (RemotefsError, OSError) as error:
            self._put_off(share, str(error))
            _log.warning("%s is not in the shared store: %s", share.file_id, error)
        else:
            self._shares.stored(share.file_id)
            crashpoints.reached("share: its row says that it is in the store", share.file_id)

    def _put_off(self, share: Share, reason: str | None) -> None:
        pause_s = backoff_s(_FIRST_RETRY_S, _MAX_RETRY_S, share.tries)
        self._shares.failed(share.file_id, reason, due_ns=self._clock() + int(pause_s * _NS))

    async def _put(self, remote: Remote) -> None:
        """Put the object of a file. Raises ObjectStoreError, CorruptionError, LocalError, OSError."""
        crashpoints.reached("share: it begins", remote.file_id)
        inode = self._holder(remote)
        if inode is None:
            raise _Superseded(f"{remote.filename}: a newer version has taken its place here, and is not uploaded yet")
        file = await self._reader.open_source(inode.ino) if remote.size else None
        if file is None and remote.size:
            raise CorruptionError(f"{remote.filename}: its bytes are not on this disk")
        try:
            known, digest = self._reader.sums_of(inode), self._contents.digest_of(remote)
            sums = await trio.to_thread.run_sync(partial(_sums_of, file, remote, known, digest))
            size = header_bytes(remote.size) + remote.size
            await self._contents.put(remote.file_id, partial(_pieces, sums, file), size)
        finally:
            if file is not None:
                file.close()
        crashpoints.reached("share: the store has it", remote.file_id)

    def _holder(self, remote: Remote) -> Inode | None:
        """Return an inode that holds the bytes of a file as the service has them."""
        inodes = self._tree.holders(remote.file_id)
        return next((inode for inode in inodes if inode.state == ContentState.CLEAN), None)


def _sums_of(file: BinaryIO | None, remote: Remote, known: Sums | None, digest: str | None) -> Sums:
    """Return the sums of a file's object; read the file, for a thread, if those that are known have other chunks.

    `digest` is that of what went up, None where it is not known. Raises CorruptionError when it is not what went up.
    """
    layout = layout_of(remote.size)
    if known is not None and known.layout == layout and digest in (None, known.digest):
        return known
    place = Path("/dev/null") if file is None else Path(f"/proc/self/fd/{file.fileno()}")
    sums = hash_file(place, layout)
    if digest is not None and sums.digest != digest:
        raise CorruptionError(f"{remote.filename}: its bytes on this disk are not those that were uploaded")
    return sums


def _pieces(sums: Sums, file: BinaryIO | None) -> Iterable[bytes]:
    """Read the bytes of an object, for a thread. Raises CorruptionError when the file changes meanwhile."""
    yield encode(sums)
    layout = sums.layout
    if file is None:
        return
    file.seek(0)
    for first in range(0, layout.count, _CHUNKS_A_PIECE):
        stop = min(first + _CHUNKS_A_PIECE, layout.count)
        data = file.read(layout.start(stop) - layout.start(first))
        pieces = layout.pieces(data)
        if len(data) != layout.start(stop) - layout.start(first) or not all(
            map(sums.matches, range(first, stop), pieces)
        ):
            raise CorruptionError("the file was written to while its bytes went into the shared store")
        yield data
