"""What the reply to an upload may say, and what it cannot (W6, S3): pure.

The service makes a new file of every upload. A gateway that replaces files of one name, or answers from a cache, names
a file that is known already; bound to it, a path here would show bytes that nobody wrote, and its removal would delete
somebody else's file.
"""

from __future__ import annotations

from dataclasses import dataclass

from remotefs.api.models import FileMetadata
from remotefs.store.records import Origin, Remote


@dataclass(frozen=True)
class Shipment:
    """What one upload sends, and in which version; `digest` is empty where it is not known any more."""

    ino: int
    name: str
    size: int
    generation: int
    digest: str


def fault_of(shipment: Shipment, reply: FileMetadata, known: Remote | None) -> str | None:
    """Return why a reply cannot be the file that was sent, for people; None where it can.

    `known` is the row of the id that it names. Another filename is no fault: the service may change it (N2).
    """
    if reply.size_bytes != shipment.size:
        return f"{shipment.size} bytes were sent, and the reply is about a file of {reply.size_bytes}"
    if known is None or _is_told_again(shipment, known):
        return None
    return f"the reply names {reply.id}, which is {_what_it_is(shipment, known)}"


def _is_told_again(shipment: Shipment, known: Remote) -> bool:
    """Whether it is this very file, whose upload was confirmed before: the same bytes, name and inode."""
    is_ours = known.origin != Origin.FOREIGN and not known.tombstoned and known.ino == shipment.ino
    is_same = (known.asked_name, known.size, known.digest) == (shipment.name, shipment.size, shipment.digest)
    return is_ours and is_same and bool(shipment.digest)


def _what_it_is(shipment: Shipment, known: Remote) -> str:
    if known.tombstoned:
        return "a file that was removed or replaced here"
    if known.origin == Origin.FOREIGN:
        return "a file of somebody else"
    return "the file as it was before" if known.ino == shipment.ino else "another file of this mount"
