"""What others added, replaced and removed, a page at a time: `watch`."""

from __future__ import annotations

from typing import Literal

from remotefs.control.messages.base import Endpoint, Message

Happening = Literal["added", "replaced", "moved", "removed", "lost"]


class WatchParams(Message, frozen=True, kw_only=True):
    """Wait for events at and below `path`, at most `wait_s` seconds.

    `after` is where an earlier page ended. Without it nothing is waited for: the page is empty, and ends where the
    events since `since` (seconds since the epoch) begin, or else those from now on.
    """

    path: str = ""
    generated: bool = False
    after: int | None = None
    since: float | None = None
    wait_s: float = 0.0


class WatchedEvent(Message, frozen=True, kw_only=True, omit_defaults=True):
    """An event: `at` in seconds since the epoch, `source` the path before a move, `size` in bytes.

    `lost`: events before `at` may be missing, for `reason`.
    """

    event: Happening
    at: float
    path: str = ""
    source: str | None = None
    file_id: str | None = None
    size: int = 0
    generated: bool = False
    reason: str | None = None


class WatchPage(Message, frozen=True, kw_only=True):
    """Events in order; the next page begins after `last`."""

    events: tuple[WatchedEvent, ...] = ()
    last: int


WATCH = Endpoint("watch", WatchParams, WatchPage)
