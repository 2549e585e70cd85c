"""One upload, from the intent to the binding of the new id.

Exactly once in effect: the attempt is on the disk before the first byte goes out, a lost reply is looked for in the
listing before anything is sent again (W6), and the reply binds whatever generation of the bytes it was (W4).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import trio

from remotefs import names, steps
from remotefs.api.budget import Priority, Ticket
from remotefs.api.mime import guess_mime_type
from remotefs.api.models import FileMetadata
from remotefs.api.upload import BytesSource, FileSource, UploadSource
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.data.answers import Shipment, fault_of
from remotefs.data.changes import Changes
from remotefs.data.filedata import FileData, digest_of
from remotefs.data.flights import Flight, Flights, MeteredSource
from remotefs.data.link import Link
from remotefs.data.readback import Readback
from remotefs.errors import AmbiguousOutcome, LocalError, MisansweredUpload, RemotefsError
from remotefs.store.records import NEVER_NS, Attempt, ContentState, Inode, Intent, IntentKind, Origin, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class Sender(Protocol):
    """The one method of the API client that is needed here."""

    async def upload(
        self,
        name: str,
        source: UploadSource,
        *,
        priority: Priority | Ticket,
        on_all_sent: Callable[[], None] | None = None,
    ) -> FileMetadata:
        """Upload one file; raises AmbiguousOutcome rather than send twice."""
        ...


class Uploader:
    """Carries UPLOAD and RELABEL intents out."""

    def __init__(
        self,
        store: Store,
        changes: Changes,
        filedata: FileData,
        flights: Flights,
        sender: Sender,
        readback: Readback,
        link: Link,
        clock: ServiceClock,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._changes = changes
        self._filedata = filedata
        self._flights = flights
        self._sender = sender
        self._readback = readback
        self._link = link
        self._clock = clock

    async def carry_out(self, intent: Intent, ticket: Ticket) -> None:
        """Upload what the inode holds now and bind the new id, or find out that an earlier attempt did it.

        Returns without effect where a write cut it or there is nothing to send any more. Raises RefusedError,
        TransportError, LocalError; the intent stays.
        """
        assert intent.ino is not None
        if intent.attempt is not None and not await self._resolve(intent, intent.attempt):
            return
        inode = self._tree.find(intent.ino)
        if inode is None or inode.nlink == 0 or not _is_sendable(inode, intent):
            self._drop_if_idle(intent, inode)
            return
        with self._flights.fly(inode.ino, inode.content_gen) as flight:
            try:
                await self._send(intent, inode, flight, ticket)
            except (LocalError, OSError):
                # The write or the unlink that ended it has changed or removed what was being read.
                if not flight.scope.cancel_called and self._journal.find(intent.seq) is not None:
                    raise
            except RemotefsError:
                if self._is_wanted(intent, inode.ino):
                    raise
        if flight.scope.cancel_called:
            # Not all of it had gone out: the service made no file of it.
            self._journal.end_attempt(intent.seq)
            self._drop_if_idle(intent, self._tree.find(intent.ino))
            return

    def _is_wanted(self, intent: Intent, ino: int) -> bool:
        """Whether anybody asks what became of it: of a file unlinked meanwhile only while it may be at the service."""
        current, inode = self._journal.find(intent.seq), self._tree.find(ino)
        if current is not None and current.attempt is None and (inode is None or inode.nlink == 0):
            self._drop_if_idle(current, inode)
        return self._journal.find(intent.seq) is not None

    async def _send(self, intent: Intent, inode: Inode, flight: Flight, ticket: Ticket) -> None:
        await self._filedata.stage(inode.ino)
        inode = self._tree.get(inode.ino)
        path = self._filedata.source_of(inode)
        # On this disk for good before anybody calls it safe: what went up cannot be read back.
        await self._filedata.sync_bytes(inode.ino)
        digest = await trio.to_thread.run_sync(digest_of, path)
        # A thread is not cut short: an upload that was cut meanwhile ends here.
        await trio.lowlevel.checkpoint_if_cancelled()
        name = self._changes.remote_name(self._tree.get(inode.ino))
        if name is None:
            # Unlinked meanwhile, but still open (W9): its intent is gone.
            return
        shipment = Shipment(inode.ino, name, inode.size, inode.content_gen, digest)
        attempt = Attempt(
            shipment.name,
            shipment.size,
            time.time_ns(),
            self._remotes.newest_ns(self._clock.now_ns() + AHEAD_NS),
            shipment.generation,
        )
        self._journal.begin_attempt(intent.seq, attempt)
        await self._db.durable()
        steps.reached("upload: its attempt is on the disk", name)
        source = MeteredSource(_source(path, shipment), flight)
        reply = await self._answer(intent, shipment, source, flight, ticket)
        steps.reached("upload: the service has it", reply.id)
        # Invariant: no await between the reply and the binding.
        self._bind(shipment, reply, Origin.OURS)

    async def _answer(
        self, intent: Intent, shipment: Shipment, source: UploadSource, flight: Flight, ticket: Ticket
    ) -> FileMetadata:
        try:
            return await self._link.watch(
                lambda: self._sender.upload(shipment.name, source, priority=ticket, on_all_sent=flight.mark_all_sent)
            )
        except AmbiguousOutcome:
            raise  # the attempt stays on record: the next try looks for it first
        except RemotefsError:
            self._journal.end_attempt(intent.seq)
            raise

    async def _resolve(self, intent: Intent, attempt: Attempt) -> bool:
        """Find out what became of an attempt; whether there is still something to send."""
        steps.reached("upload: its reply was lost", attempt.name)
        found = await self._link.watch(lambda: self._readback.find(attempt))
        steps.reached("upload: the listing was read back", attempt.name)
        intent_now = self._journal.find(intent.seq)
        if intent_now is None:
            return False
        if found is None:
            self._journal.end_attempt(intent.seq)
            return True
        assert intent.ino is not None
        _log.warning("%s: the reply was lost, but the service has it: %s", attempt.name, found.id)
        self._bind(Shipment(intent.ino, attempt.name, attempt.size, attempt.generation, ""), found, Origin.ADOPTED)
        return False

    def _bind(self, shipment: Shipment, reply: FileMetadata, origin: Origin) -> None:
        """Bind the new id. Raises MisansweredUpload where the reply cannot be about it; the attempt stays on record."""
        fault = fault_of(shipment, reply, self._remotes.find(reply.id))
        if fault is not None:
            raise MisansweredUpload(
                f"{shipment.name}: {fault}; it is kept here, and sent again unless the listing has it"
            )
        remote = Remote(
            file_id=reply.id,
            filename=reply.filename,
            size=shipment.size,
            mime_type=reply.mime_type,
            created_ns=reply.created_ns,
            expires_ns=reply.expires_ns,
            downloadable=reply.downloadable,
            origin=origin,
            digest=shipment.digest or None,
            asked=shipment.name if shipment.name != reply.filename else None,
        )
        self._changes.bound(shipment.ino, remote, shipment.generation)
        steps.reached("upload: it is bound", reply.id)

    def _drop_if_idle(self, intent: Intent, inode: Inode | None) -> None:
        """An intent whose inode has lost its last name was kept only for the attempt, which is over now."""
        current = self._journal.find(intent.seq)  # a close may have made an UPLOAD of a RELABEL
        if inode is not None and inode.nlink == 0:
            self._changes.unlinked(inode)
        elif inode is None and current is not None:
            self._journal.remove(intent.seq)
            self._changes.free(current.replaces)
        elif inode is not None and current is not None and not _is_sendable(inode, current):
            # Written again: its next close makes it due.
            self._journal.reschedule(intent.seq, due_ns=NEVER_NS)


def _is_sendable(inode: Inode, intent: Intent) -> bool:
    if intent.kind is IntentKind.RELABEL:
        return inode.state == ContentState.CLEAN
    return inode.state == ContentState.CLOSED


def _last(remote_name: str) -> str:
    path = names.decode(remote_name)
    return (path or remote_name).rpartition("/")[2]


def _source(path: Path | None, shipment: Shipment) -> UploadSource:
    mime_type = guess_mime_type(_last(shipment.name))
    return BytesSource(b"", mime_type) if path is None else FileSource(path, shipment.size, mime_type)
