"""Counts the requests of a client by kind and status, how long they took, and the errors by class."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from remotefs.counters import Timings

Kind = Literal["list", "metadata", "delete", "upload", "download"]
KINDS: tuple[Kind, ...] = ("list", "metadata", "delete", "upload", "download")
# In the place of a status: no reply came.
NO_REPLY = 0


def kind_of(method: str, path: str) -> Kind:
    """Return the kind of a request."""
    match method:
        case "POST":
            return "upload"
        case "DELETE":
            return "delete"
    if path.endswith("/content"):
        return "download"
    return "list" if path.rstrip("/").endswith("/files") else "metadata"


class Traffic:
    """The requests that went out so far, retries and redirects each on their own."""

    def __init__(self) -> None:
        # By kind and HTTP status.
        self.requests: Counter[tuple[Kind, int]] = Counter()
        # Up to the head of the reply, the time to send an upload included.
        self.timings: dict[Kind, Timings] = {kind: Timings() for kind in KINDS}
        # Attempts that failed, by the class of their error.
        self.errors: Counter[str] = Counter()

    def replied(self, kind: Kind, status: int, seconds: float) -> None:
        """Count a request; `status` is NO_REPLY where none came."""
        self.requests[kind, status] += 1
        self.timings[kind].note(seconds, failed=not 200 <= status < 400)

    def failed(self, error: Exception) -> None:
        """Count an attempt that failed."""
        self.errors[type(error).__name__] += 1
