"""The check of the reply to an upload: can it be about the file that was sent (W6, S3)? Pure.

The service makes a new file from every upload. A gateway that replaces files of one name, or answers from a cache,
names a file that is known already. Bound to that file, a path here would show bytes that nobody wrote, and its removal
would delete somebody else's file.
"""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.api.models import FileMetadata
from remotefs.store.records import Origin, Remote


@dataclass(frozen=True)
class Shipment:
    """The bytes of one upload, as they were at `generation`; `digest` is empty if it is not known any more.

    So is `mime_type`. `expires_in_s` is None for a file that the service is to keep. Neither says which file a reply is
    about, because the service may write a type in another way.
    """

    ino: int
    name: str
    size: int
    generation: int
    digest: str
    mime_type: str = ""
    expires_in_s: int | None = None


def fault_of(shipment: Shipment, reply: FileMetadata, known: Remote | None) -> str | None:
    """Return why a reply cannot be about the file that was sent, for people; None if it can.

    `known` is the row of the id in the reply. Another filename is not a fault: the service may change it (N2).
    """
    if reply.size_bytes != shipment.size:
        return f"{shipment.size} bytes were sent, and the reply is about a file of {reply.size_bytes}"
    if known is None or _is_confirmed_again(shipment, known):
        return None
    return f"the reply names {reply.id}, which is {_describe(shipment, known)}"


def _is_confirmed_again(shipment: Shipment, known: Remote) -> bool:
    """Return whether it is this very file, whose upload was confirmed before: the same bytes, name and inode."""
    is_ours = known.origin != Origin.FOREIGN and not known.tombstoned and known.ino == shipment.ino
    is_same = (known.asked_name, known.size, known.digest) == (shipment.name, shipment.size, shipment.digest)
    return is_ours and is_same and bool(shipment.digest)


def _describe(shipment: Shipment, known: Remote) -> str:
    if known.tombstoned:
        return "a file that was removed or replaced here"
    if known.origin == Origin.FOREIGN:
        return "a file of somebody else"
    return "the file as it was before" if known.ino == shipment.ino else "another file of this mount"
