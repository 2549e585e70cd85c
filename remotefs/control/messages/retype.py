"""Files that the service has under another type than they would get now: `retype`."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class RetypeParams(Message, frozen=True):
    """Give the files at or below `path` the types that an upload would give them now; `dry_run` only tells the cost."""

    path: str
    dry_run: bool


class RetypeResult(Message, frozen=True):
    """What `retype` costs: `files` uploads of `bytes` in all, and their deletes.

    Files that this machine did not upload (`of_others`) keep their types, and so do those whose bytes are `not_here`.
    """

    files: int
    bytes: int
    requests: int
    of_others: int = 0
    not_here: int = 0


RETYPE = Endpoint("retype", RetypeParams, RetypeResult)
