"""Renames that the service has not followed: `sync`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class SyncParams(Message, frozen=True):
    """Give the files at or below `path` the remote names that their paths say; `dry_run` only tells the cost."""

    path: str
    dry_run: bool


class SyncResult(Message, frozen=True):
    """What `sync` costs: `files` uploads of `bytes` in all and their deletes; `unreadable` paths cannot follow."""

    files: int
    bytes: int
    requests: int
    unreadable: tuple[str, ...] = ()


SYNC = Endpoint("sync", SyncParams, SyncResult)
