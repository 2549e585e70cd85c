"""The files that `remotefs get` fetches from a mount: `--generated`. All else it sees in the mount itself."""

from __future__ import annotations

from remotefs.control.messages.base import Endpoint, Message


class GeneratedParams(Message, frozen=True, kw_only=True):
    """List generated files that are at most `since_s` seconds old (None: of any age), by ids above `after`."""

    since_s: float | None = None
    after: str = ""


class GeneratedResult(Message, frozen=True):
    """Their paths; `after` is where the next page begins, None at the end."""

    paths: tuple[str, ...]
    after: str | None = None


GENERATED = Endpoint("get-generated", GeneratedParams, GeneratedResult)
