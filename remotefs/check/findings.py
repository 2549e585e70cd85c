"""The findings of `remotefs check`, each with what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can be wrong."""

    DATABASE = "damaged database"
    NO_ROOT = "no root"
    BAD_NAME = "impossible name"
    NAME_OF_NOTHING = "name of nothing"
    NAME_IN_NOTHING = "name in no folder"
    WRONG_LINKS = "wrong number of links"
    WRONG_PARENT = "wrong parent"
    UNREACHABLE = "out of reach"
    NO_BYTES = "bytes are missing"
    WRONG_SIZE = "wrong size"
    DAMAGED = "damaged bytes"
    NEVER_SENT = "nothing sends it"
    STRAY_STAGED = "staged bytes of no file"
    UNKNOWN_ID = "bound to an unknown id"
    GIVEN_UP_ID = "bound to an id that was given up"
    WRONG_INODE = "remote file shown by another"
    NOT_SHOWN = "remote file shown nowhere"
    STRAY_CONTENT = "content of no remote file"
    STRAY_BYTES = "content without its sums"
    NOT_PINNED = "only copy not pinned"
    STRAY_INTENT = "pending work of nothing"
    MISSING_REMOTE = "missing at the service"
    OTHER_REMOTE = "differs at the service"
    UNKNOWN_REMOTE = "at the service and not known here"
    OBJECT_MISSING = "missing in the shared store"
    OBJECT_DAMAGED = "damaged in the shared store"
    LEFT_REMOTE = "given up and still at the service"


ADVICE: Mapping[Kind, str] = {
    Kind.DATABASE: "unmount it, then `remotefs check --repair --state-dir DIR` rebuilds it from what is left",
    Kind.NO_ROOT: "unmount it, then `remotefs check --repair --state-dir DIR` rebuilds the tree from what is left",
    Kind.BAD_NAME: "rename it or remove it",
    Kind.NAME_OF_NOTHING: "`remotefs check --repair` removes the name",
    Kind.NAME_IN_NOTHING: "`remotefs check --repair` removes the name; what it named is kept under `recovered`",
    Kind.WRONG_LINKS: "`remotefs check --repair` counts again",
    Kind.WRONG_PARENT: "`remotefs check --repair` corrects it",
    Kind.UNREACHABLE: "`remotefs check --repair` gives it a name in the folder `recovered`",
    Kind.NO_BYTES: "nothing here can bring them back: replace it or remove it",
    Kind.WRONG_SIZE: "read it and see; write it again or remove it",
    Kind.DAMAGED: "copy what is still good, then replace it or remove it",
    Kind.NEVER_SENT: "`remotefs check --repair` has it sent",
    Kind.STRAY_STAGED: "`remotefs check --repair` puts them into the trash",
    Kind.UNKNOWN_ID: "`remotefs check --repair` has it sent again where its bytes are here",
    Kind.GIVEN_UP_ID: "`remotefs check --repair` keeps the remote file",
    Kind.WRONG_INODE: "`remotefs check --repair` has it shown by itself at the next listing",
    Kind.NOT_SHOWN: "the next listing shows it",
    Kind.STRAY_CONTENT: "`remotefs check --repair` puts it into the trash where it is the only copy, else removes it",
    Kind.STRAY_BYTES: "`remotefs check --repair` puts them into the trash",
    Kind.NOT_PINNED: "`remotefs check --repair` pins it",
    Kind.STRAY_INTENT: "`remotefs check --repair` drops it",
    Kind.MISSING_REMOTE: "the next two complete listings remove it here, its bytes go to the trash",
    Kind.OTHER_REMOTE: "somebody else is at work, or the service: look at the file before you trust it",
    Kind.UNKNOWN_REMOTE: "the next complete listing shows it",
    Kind.OBJECT_MISSING: "`remotefs check --shared --repair` puts it there on a machine that has its bytes",
    Kind.OBJECT_DAMAGED: "`remotefs check --shared --repair` puts it there again on a machine that has its bytes",
    Kind.LEFT_REMOTE: "`remotefs check --repair` has it deleted",
}


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is wrong: with the inode, the remote file or the intent of that number, as far as there is one."""

    kind: Kind
    path: str
    what: str
    ino: int = 0
    file_id: str = ""
    number: int = 0

    @property
    def advice(self) -> str:
        """Return what to do."""
        return ADVICE[self.kind]
