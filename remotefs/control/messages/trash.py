"""Files that went away at the service: `trash list`, `trash restore`, `trash empty`, `accept-removals`."""

from __future__ import annotations

from remotefs.control.messages.base import Count, Endpoint, Message, Nothing


class TrashEntry(Message, frozen=True):
    """A file in the local trash."""

    number: int
    path: str
    file_id: str
    size: int
    removed_at: float
    reason: str


class TrashListing(Message, frozen=True):
    """The local trash, the oldest first."""

    entries: tuple[TrashEntry, ...] = ()


class RestoreParams(Message, frozen=True):
    """Put number `number` of the trash back, at its old path or at `path`."""

    number: int
    path: str | None = None


class PathResult(Message, frozen=True):
    """A path in the mount."""

    path: str


class EmptyParams(Message, frozen=True):
    """Remove for good what has been in the trash for longer."""

    older_than_days: float = 0.0


class Removals(Message, frozen=True, kw_only=True):
    """The files that were removed here, and the objects of files that were deleted from the shared store.

    `trouble` is why objects that wait for this command stay, None if none does.
    """

    count: int
    objects: int = 0
    trouble: str | None = None


TRASH_LIST = Endpoint("trash-list", Nothing, TrashListing)
TRASH_RESTORE = Endpoint("trash-restore", RestoreParams, PathResult)
TRASH_EMPTY = Endpoint("trash-empty", EmptyParams, Count)
ACCEPT_REMOVALS = Endpoint("accept-removals", Nothing, Removals)
