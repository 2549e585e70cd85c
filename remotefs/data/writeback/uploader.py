"""One upload, from the intent to the binding of the new id.

Exactly once in effect: the attempt is on the disk before the first byte goes out, a lost reply is looked for in the
listing before anything is sent again (W6), and the reply binds whatever generation of the bytes it was (W4).

An intent that was read is what it was until the next await. So it is read again after each one that comes before the
attempt is recorded (`_wanted`); from then on its row stays until the attempt's end is known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import trio

from remotefs import crashpoints, names
from remotefs.api.budget import Priority, Ticket
from remotefs.api.connectivity import Connectivity
from remotefs.api.mime import guess_mime_type
from remotefs.api.models import FileMetadata
from remotefs.api.upload import BytesSource, FileSource, UploadSource
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.data.content.file import digest_of
from remotefs.data.files.file_bytes import FileBytes
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import MeteredSource, UploadInFlight, UploadsInFlight
from remotefs.data.intents.planner import IntentPlanner
from remotefs.data.writeback.answers import Shipment, fault_of
from remotefs.data.writeback.readback import Readback
from remotefs.errors import (
    AmbiguousOutcome,
    LocalError,
    MisansweredUpload,
    RateLimited,
    RefusedError,
    RemotefsError,
    SpendCapReached,
    TransportError,
)
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
    """Carries UPLOAD and REUPLOAD intents out."""

    def __init__(
        self,
        store: Store,
        planner: IntentPlanner,
        file_bytes: FileBytes,
        churn: Churn,
        in_flight: UploadsInFlight,
        sender: Sender,
        readback: Readback,
        connectivity: Connectivity,
        clock: ServiceClock,
    ) -> None:
        self._db = store.database
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._planner = planner
        self._file_bytes = file_bytes
        self._churn = churn
        self._in_flight = in_flight
        self._sender = sender
        self._readback = readback
        self._connectivity = connectivity
        self._clock = clock

    async def carry_out(self, intent: Intent, ticket: Ticket) -> None:
        """Upload what the inode holds now and bind the new id, or find out that an earlier attempt did it.

        Returns without effect where a write cut it or there is nothing to send any more. Raises RefusedError,
        TransportError, LocalError; the intent stays.
        """
        current = self._journal.find(intent.seq)
        if current is not None and current.attempt is not None:
            await self._resolve(current, current.attempt)
        if (inode := self._wanted(intent)) is not None:
            # Now that nobody writes, if it keeps changing.
            await self._file_bytes.freeze(inode.ino)
        if (inode := self._wanted(intent)) is not None:
            await self._fly(intent, inode, ticket)

    async def _fly(self, intent: Intent, inode: Inode, ticket: Ticket) -> None:
        frozen = self._file_bytes.frozen(inode.ino)
        generation = frozen.generation if frozen else inode.content_gen
        with (
            self._thawing(inode.ino),
            self._in_flight.register(inode.ino, generation, frozen=frozen is not None) as flight,
        ):
            try:
                await self._send(intent, inode.ino, flight, ticket)
            except (LocalError, OSError):
                # The write or the unlink that ended it has changed or removed what was being read.
                if not flight.scope.cancel_called and self._journal.find(intent.seq) is not None:
                    raise
            except RemotefsError:
                if self._is_asked_for(intent):
                    raise
        if flight.scope.cancel_called:
            # Not all of it had gone out: the service made no file of it.
            self._journal.end_attempt(intent.seq)
            self._wanted(intent)

    @contextmanager
    def _thawing(self, ino: int) -> Iterator[None]:
        """Let a frozen version go that was being sent, but for what the next try may cure."""
        is_over = self._file_bytes.frozen(ino) is not None
        try:
            yield
        except (TransportError, RefusedError) as error:
            is_over = is_over and is_definite(error)
            raise
        finally:
            if is_over:
                self._file_bytes.thaw(ino)

    def _wanted(self, begun: Intent) -> Inode | None:
        """Return the file that an intent asks to send, as it is now; None where there is nothing to send, or not yet.

        An intent that nothing will come of is put right.
        """
        intent = self._journal.find(begun.seq)
        if intent is None or intent.ino is None:
            return None
        inode = self._tree.find(intent.ino)
        if inode is None:
            self._journal.remove(intent.seq)
            self._planner.free(intent.replaces)
        elif inode.nlink == 0:
            # It was kept only for the attempt, which is over now.
            self._planner.unlinked(inode)
        elif self._planner.is_local(inode) or not self._is_sendable(inode, intent):
            # Written again: its next close makes it due. Of another name: that asks for something else.
            self._journal.reschedule(intent.seq, due_ns=NEVER_NS)
            self._planner.schedule(inode)
        elif not self._planner.is_put_off(intent, begun.due_ns):
            return inode
        return None

    def _is_sendable(self, inode: Inode, intent: Intent) -> bool:
        if intent.kind is IntentKind.REUPLOAD:
            return inode.state == ContentState.CLEAN and self._planner.is_alias(inode)
        return inode.state == ContentState.CLOSED or self._file_bytes.frozen(inode.ino) is not None

    def _is_asked_for(self, begun: Intent) -> bool:
        """Whether anybody asks what became of an upload: of what stays here only while it may be at the service."""
        intent = self._journal.find(begun.seq)
        inode = self._tree.find(intent.ino) if intent is not None and intent.ino is not None else None
        if intent is not None and intent.attempt is None and (inode is None or self._planner.is_local(inode)):
            self._wanted(begun)
        return self._journal.find(begun.seq) is not None

    async def _send(self, intent: Intent, ino: int, flight: UploadInFlight, ticket: Ticket) -> None:
        path = await self._source_path(ino)
        digest = await trio.to_thread.run_sync(digest_of, path)
        # A thread is not cut short: an upload that was cut meanwhile ends here.
        await trio.lowlevel.checkpoint_if_cancelled()
        shipment = self._begin(intent, flight, digest)
        if shipment is None:
            return
        await self._db.durable()
        crashpoints.reached("upload: its attempt is on the disk", shipment.name)
        source = MeteredSource(_source(path, shipment), flight)
        reply = await self._answer(intent.seq, shipment, source, flight, ticket)
        crashpoints.reached("upload: the service has it", reply.id)
        # Invariant: no await between the reply and the binding.
        self._bind(shipment, reply, Origin.OURS)

    async def _source_path(self, ino: int) -> Path | None:
        """Where the bytes are that are to be sent; None: there are none. They do not change before a write cuts it."""
        frozen = self._file_bytes.frozen(ino)
        if frozen is None:
            await self._file_bytes.stage(ino)
        path = frozen.path if frozen else self._file_bytes.source_of(self._tree.get(ino))
        if frozen is None or frozen.generation == self._tree.get(ino).content_gen:
            # On this disk for good before anybody calls it safe: what went up cannot be read back.
            await self._file_bytes.sync_bytes(ino)
        return path

    def _begin(self, intent: Intent, flight: UploadInFlight, digest: str) -> Shipment | None:
        """Record what is about to be sent; None where it is not wanted any more."""
        inode = self._wanted(intent)
        name = self._planner.remote_name(inode) if inode is not None else None
        if inode is None or name is None:
            return None
        frozen = self._file_bytes.frozen(inode.ino) if flight.frozen else None
        generation, size = (frozen.generation, frozen.size) if frozen else (inode.content_gen, inode.size)
        if generation != flight.generation:
            return None
        if flight.frozen:
            self._churn.sending(inode.ino)
        shipment = Shipment(inode.ino, name, size, generation, digest)
        newest_ns = self._remotes.newest_ns(self._clock.now_ns() + AHEAD_NS)
        self._journal.begin_attempt(intent.seq, Attempt(name, size, time.time_ns(), newest_ns, generation))
        return shipment

    async def _answer(
        self, seq: int, shipment: Shipment, source: UploadSource, flight: UploadInFlight, ticket: Ticket
    ) -> FileMetadata:
        try:
            return await self._connectivity.watch(
                lambda: self._sender.upload(shipment.name, source, priority=ticket, on_all_sent=flight.mark_all_sent)
            )
        except AmbiguousOutcome:
            raise  # the attempt stays on record: the next try looks for it first
        except RemotefsError:
            self._journal.end_attempt(seq)
            raise

    async def _resolve(self, intent: Intent, attempt: Attempt) -> None:
        """Find out what became of an attempt, and bind what it made."""
        crashpoints.reached("upload: its reply was lost", attempt.name)
        found = await self._connectivity.watch(lambda: self._readback.find(attempt))
        crashpoints.reached("upload: the listing was read back", attempt.name)
        if self._journal.find(intent.seq) is None:
            return
        if found is None:
            self._journal.end_attempt(intent.seq)
            return
        assert intent.ino is not None
        _log.warning("%s: the reply was lost, but the service has it: %s", attempt.name, found.id)
        self._bind(Shipment(intent.ino, attempt.name, attempt.size, attempt.generation, ""), found, Origin.ADOPTED)

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
        # Before the next version is scheduled, for which it makes a pause.
        self._thaw_confirmed(shipment)
        self._planner.bound(shipment.ino, remote, shipment.generation)
        self._note_confirmed(shipment)
        crashpoints.reached("upload: it is bound", reply.id)

    def _thaw_confirmed(self, shipment: Shipment) -> None:
        frozen = self._file_bytes.frozen(shipment.ino)
        if frozen is not None and frozen.generation <= shipment.generation:
            self._file_bytes.thaw(shipment.ino)

    def _note_confirmed(self, shipment: Shipment) -> None:
        self._churn.confirmed(shipment.ino, shipment.generation)
        inode = self._tree.find(shipment.ino)
        if inode is None or inode.state == ContentState.CLEAN:
            self._churn.calm(shipment.ino)


def is_definite(error: Exception) -> bool:
    """Whether the service's answer is a no to this very request, which asking again soon does not change."""
    if isinstance(error, SpendCapReached):
        return True
    return isinstance(error, RefusedError) and error.status < 500 and not isinstance(error, RateLimited)


def _last(remote_name: str) -> str:
    path = names.decode(remote_name)
    return (path or remote_name).rpartition("/")[2]


def _source(path: Path | None, shipment: Shipment) -> UploadSource:
    mime_type = guess_mime_type(_last(shipment.name))
    return BytesSource(b"", mime_type) if path is None else FileSource(path, shipment.size, mime_type)
