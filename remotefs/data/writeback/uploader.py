"""One upload, from the intent to the binding of the new id.

Exactly once in effect: the attempt is on the disk before the first byte goes out, a lost reply is looked for in the
listing before anything is sent again (W6), and the reply binds whatever version of the bytes it was (W4).

    resolve an earlier attempt ─► freeze, if the file keeps changing ─► sync and hash the bytes
      ─► record the attempt ─► send ─► bind

A write, an unlink or a rename may come at each arrow. `Eligibility` is asked again after each await up to the record of
the attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from remotefs.api.budget import Ticket
from remotefs.data.files.outgoing import OutgoingBytes
from remotefs.data.intents.churn import Churn
from remotefs.data.intents.in_flight import UploadInFlight, UploadsInFlight
from remotefs.data.intents.upload_options import UploadOptions
from remotefs.data.writeback.answers import Shipment
from remotefs.data.writeback.confirmation import Confirmation
from remotefs.data.writeback.eligibility import Eligibility
from remotefs.data.writeback.failures import is_definite
from remotefs.data.writeback.transmission import Transmission
from remotefs.errors import LocalError, RefusedError, RemotefsError, TransportError
from remotefs.store.records import Inode, Intent, Origin
from remotefs.store.store import Store


class Uploader:
    """Carries UPLOAD and REUPLOAD intents out."""

    def __init__(
        self,
        store: Store,
        eligibility: Eligibility,
        outgoing: OutgoingBytes,
        options: UploadOptions,
        churn: Churn,
        in_flight: UploadsInFlight,
        transmission: Transmission,
        confirmation: Confirmation,
    ) -> None:
        self._tree = store.tree
        self._journal = store.journal
        self._eligibility = eligibility
        self._outgoing = outgoing
        self._options = options
        self._churn = churn
        self._in_flight = in_flight
        self._transmission = transmission
        self._confirmation = confirmation

    async def carry_out(self, intent: Intent, ticket: Ticket) -> None:
        """Upload what the inode holds now and bind the new id, or find out that an earlier attempt did it.

        Returns without effect if a write cut it or there is nothing to send any more. Raises RefusedError,
        TransportError, LocalError, CorruptionError; the intent stays.
        """
        current = self._journal.find(intent.seq)
        if current is not None and current.attempt is not None:
            await self._confirmation.resolve(current, current.attempt)
        if (inode := self._eligibility.sendable(intent)) is not None:
            # If the file keeps changing: nothing that is written from here on may cut this upload.
            await self._outgoing.freeze(inode.ino)
        if (inode := self._eligibility.sendable(intent)) is not None:
            await self._upload(intent, inode, ticket)

    async def _upload(self, intent: Intent, inode: Inode, ticket: Ticket) -> None:
        frozen = self._outgoing.frozen(inode.ino)
        generation = frozen.generation if frozen else inode.content_gen
        with (
            self._thawing(inode.ino),
            self._in_flight.register(inode.ino, generation, frozen=frozen is not None) as upload,
        ):
            try:
                await self._send(intent, inode.ino, upload, ticket)
            except (LocalError, OSError):
                # The write or the unlink that ended it has changed or removed what was being read.
                if not upload.scope.cancel_called and self._journal.find(intent.seq) is not None:
                    raise
            except RemotefsError:
                if self._eligibility.still_matters(intent):
                    raise
        if upload.scope.cancel_called:
            # Its last byte had not gone out: the service made no file of it.
            self._journal.end_attempt(intent.seq)
            self._eligibility.sendable(intent)

    @contextmanager
    def _thawing(self, ino: int) -> Iterator[None]:
        """Let the frozen version go that was being sent, except after a failure that the next try may cure."""
        is_over = self._outgoing.frozen(ino) is not None
        try:
            yield
        except (TransportError, RefusedError) as error:
            is_over = is_over and is_definite(error)
            raise
        finally:
            if is_over:
                self._outgoing.thaw(ino)

    async def failed(self, intent: Intent) -> None:
        """Keep the sums of bytes that were not taken: the next try may come after a remount, and compares (R3)."""
        if intent.ino is not None:
            await self._outgoing.keep_sums(intent.ino)

    async def _send(self, intent: Intent, ino: int, upload: UploadInFlight, ticket: Ticket) -> None:
        path = await self._outgoing.source(ino)
        digest = await self._outgoing.digest(ino, upload.generation, path)
        shipment = self._begin(intent, upload, digest, await self._outgoing.head(path))
        if shipment is None:
            return
        reply = await self._transmission.send(intent.seq, shipment, path, upload, ticket)
        # Invariant: no await between the reply and the binding.
        self._confirmation.bind(shipment, reply, Origin.OURS)

    def _begin(self, intent: Intent, upload: UploadInFlight, digest: str, head: bytes) -> Shipment | None:
        """Record what is about to be sent and return it; None if it is not to be sent any more."""
        inode = self._eligibility.sendable(intent)
        name = self._eligibility.remote_name(inode) if inode is not None else None
        if inode is None or name is None:
            return None
        frozen = self._outgoing.frozen(inode.ino) if upload.frozen else None
        generation, size = (frozen.generation, frozen.size) if frozen else (inode.content_gen, inode.size)
        if generation != upload.generation:
            return None
        if upload.frozen:
            self._churn.sending(inode.ino)
        mime_type, expires_in_s = self._options.type_of(inode, head), self._options.expires_in_s(inode)
        shipment = Shipment(inode.ino, name, size, generation, digest, mime_type, expires_in_s)
        self._transmission.record(intent.seq, shipment)
        return shipment
