"""Files that `remotefs put` copies into a mount: what is known of those that are there, and waiting for the service."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class ThereParams(Message, frozen=True, kw_only=True):
    """Bytes that may be those of the file at `path`: their number, and their xxh3-128 digest in hex."""

    path: str
    size: int
    digest: str


class ThereResult(Message, frozen=True, kw_only=True):
    """What is known of the file at that path.

    `same`: it has exactly these bytes. `pending`: the service does not have them yet. `generated`: the service gives it
    back. `attributes` are those that a user has set.
    """

    same: bool
    pending: bool
    generated: bool
    attributes: tuple[tuple[bytes, bytes], ...] = ()


class SentParams(Message, frozen=True):
    """Wait until the service has the files of these inodes, or nothing has moved for `stall_s` seconds."""

    inos: tuple[int, ...]
    stall_s: float


class SentFile(Message, frozen=True):
    """One of them: `sent` with its id; `pending`, `refused` or `failed` with the reason; `local`: never uploaded."""

    outcome: str
    file_id: str | None = None
    reason: str | None = None


class SentResult(Message, frozen=True):
    """The files in the order of the request."""

    files: tuple[SentFile, ...]


THERE = Endpoint("put-there", ThereParams, ThereResult)
SENT = Endpoint("put-sent", SentParams, SentResult)
