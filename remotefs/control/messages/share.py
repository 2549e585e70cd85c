"""The shared store: `share` and `unshare`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Leftover, Message


class ShareParams(Message, frozen=True):
    """Put the files at or below `path` that were uploaded before into the shared store."""

    path: str


class ShareResult(Message, frozen=True, kw_only=True):
    """What `share` did: `files` of `bytes` in all went into the store, and the first of those that did not."""

    files: int
    bytes: int
    failed_count: int = 0
    failed: tuple[Leftover, ...] = ()


class UnshareParams(Message, frozen=True, kw_only=True):
    """Take the files at or below `path` out of the shared store; with `dry_run` only count them."""

    path: str
    dry_run: bool = False


class UnshareResult(Message, frozen=True, kw_only=True):
    """What `unshare` did, or would do: `files` of `bytes` in all, and the first of those that stay in the store."""

    files: int
    bytes: int
    failed_count: int = 0
    failed: tuple[Leftover, ...] = ()


SHARE = Endpoint("share", ShareParams, ShareResult)
UNSHARE = Endpoint("unshare", UnshareParams, UnshareResult)
