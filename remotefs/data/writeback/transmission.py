"""The request of one upload, and the record of the attempt that makes it safe to lose the reply (W6)."""

from __future__ import annotations

import time
from pathlib import Path

from remotefs import crashpoints
from remotefs.api.budget import Ticket
from remotefs.api.connectivity import Connectivity
from remotefs.api.models import FileMetadata
from remotefs.api.protocols import FileSender
from remotefs.api.upload import BytesSource, FileSource, UploadSource
from remotefs.clocks import AHEAD_NS, ServiceClock
from remotefs.data.intents.in_flight import MeteredSource, UploadInFlight
from remotefs.data.intents.upload_options import UploadOptions
from remotefs.data.writeback.answers import Shipment
from remotefs.errors import AmbiguousOutcome, RemotefsError
from remotefs.store.records import Attempt
from remotefs.store.store import Store


class Transmission:
    """Records attempts and sends the bytes."""

    def __init__(
        self,
        store: Store,
        sender: FileSender,
        connectivity: Connectivity,
        options: UploadOptions,
        clock: ServiceClock,
    ) -> None:
        self._db = store.database
        self._journal = store.journal
        self._remotes = store.remotes
        self._sender = sender
        self._connectivity = connectivity
        self._options = options
        self._clock = clock

    def record(self, seq: int, shipment: Shipment) -> None:
        """Record that a shipment is about to be sent for the intent `seq`. Raises IntentGone: then it must not be."""
        newest_ns = self._remotes.newest_ns(self._clock.now_ns() + AHEAD_NS)
        attempt = Attempt(shipment.name, shipment.size, time.time_ns(), newest_ns, shipment.generation)
        with self._db.transaction():
            self._journal.begin_attempt(seq, attempt)
            self._options.sending(shipment.ino)

    async def send(
        self, seq: int, shipment: Shipment, path: Path | None, upload: UploadInFlight, ticket: Ticket
    ) -> FileMetadata:
        """Send a recorded shipment, the bytes at `path` or none, and return the reply.

        Raises AmbiguousOutcome when the service may have it: the attempt stays on record, and the next try looks for
        it first. Raises RefusedError, TransportError, LocalError when it does not: the attempt is over.
        """
        # Invariant: the attempt is on the disk before the first byte goes out.
        await self._db.durable()
        crashpoints.reached("upload: its attempt is on the disk", shipment.name)
        source = MeteredSource(_source(path, shipment), upload)
        try:
            reply = await self._connectivity.watch(
                lambda: self._sender.upload(
                    shipment.name,
                    source,
                    priority=ticket,
                    expires_in_s=shipment.expires_in_s,
                    on_all_sent=upload.mark_all_sent,
                )
            )
        except AmbiguousOutcome:
            raise
        except RemotefsError:
            self._journal.end_attempt(seq)
            raise
        crashpoints.reached("upload: the service has it", reply.id)
        return reply


def _source(path: Path | None, shipment: Shipment) -> UploadSource:
    if path is None:
        return BytesSource(b"", shipment.mime_type)
    return FileSource(path, shipment.size, shipment.mime_type)
