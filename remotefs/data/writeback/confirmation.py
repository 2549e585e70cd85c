"""The end of an upload: the file in its reply, or in the listing after a lost reply, is bound to the inode (W4, W6)."""

from __future__ import annotations

import logging

from remotefs import crashpoints
from remotefs.api.connectivity import Connectivity
from remotefs.api.models import FileMetadata
from remotefs.data.files.outgoing import OutgoingBytes
from remotefs.data.intents.binder import Binder
from remotefs.data.intents.churn import Churn
from remotefs.data.writeback.answers import Shipment, fault_of
from remotefs.data.writeback.readback import Readback
from remotefs.errors import MisansweredUpload
from remotefs.store.records import Attempt, ContentState, Intent, Origin, Remote
from remotefs.store.store import Store

_log = logging.getLogger(__name__)


class Confirmation:
    """Binds what the service has got, whatever version of the bytes it was (W4)."""

    def __init__(
        self,
        store: Store,
        binder: Binder,
        outgoing: OutgoingBytes,
        churn: Churn,
        readback: Readback,
        connectivity: Connectivity,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._remotes = store.remotes
        self._binder = binder
        self._outgoing = outgoing
        self._churn = churn
        self._readback = readback
        self._connectivity = connectivity

    async def resolve(self, intent: Intent, attempt: Attempt) -> None:
        """Find out what became of an attempt whose reply was lost, and bind the file that it made (W6)."""
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
        shipment = Shipment(intent.ino, attempt.name, attempt.size, attempt.generation, "")
        self.bind(shipment, found, Origin.ADOPTED)

    def bind(self, shipment: Shipment, reply: FileMetadata, origin: Origin) -> None:
        """Bind the new id. Raises MisansweredUpload if the reply cannot be about it: the attempt stays on record."""
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
        # Before the binding schedules the next version, which waits for the pause that begins with this.
        self._thaw(shipment)
        self._binder.bind(shipment.ino, remote, shipment.generation)
        self._note(shipment)
        crashpoints.reached("upload: it is bound", reply.id)

    def _thaw(self, shipment: Shipment) -> None:
        frozen = self._outgoing.frozen(shipment.ino)
        if frozen is not None and frozen.generation <= shipment.generation:
            self._outgoing.thaw(shipment.ino)

    def _note(self, shipment: Shipment) -> None:
        self._churn.confirmed(shipment.ino, shipment.generation)
        inode = self._tree.find(shipment.ino)
        if inode is None or inode.state == ContentState.CLEAN:
            self._churn.calm(shipment.ino)
