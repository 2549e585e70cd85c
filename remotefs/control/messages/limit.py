"""The limits of bandwidth of a mount, changed while it runs: `limit`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class LimitParams(Message, frozen=True, kw_only=True):
    """What to change, in bytes per second, 0 for no limit; None stays as it is."""

    upload_rate: int | None = None
    download_rate: int | None = None


class Limits(Message, frozen=True, kw_only=True):
    """The limits in bytes per second, 0 for none, and how many streams wait for their turn now."""

    upload_rate: int
    download_rate: int
    uploads_waiting: int = 0
    downloads_waiting: int = 0


LIMIT = Endpoint("limit", LimitParams, Limits)
