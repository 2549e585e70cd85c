"""Notes what a request waits for, for the access log: the service, its turn, the disk, a lock.

Code that is about to wait says so with `waiting_for`. That costs a look at a context variable unless somebody listens:
the handler of a request does, while the access log is on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Literal

# `turn`: the request budget, a pause that the service asked for, a limit of bandwidth, or a place among the streams.
Cause = Literal["service", "turn", "disk", "lock"]


class Waits:
    """The seconds that one request has waited, by cause."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[Cause, float] = {}

    def add(self, cause: Cause, seconds: float) -> None:
        """Add to the time of a cause."""
        if seconds > 0:
            self.seconds[cause] = self.seconds.get(cause, 0.0) + seconds


_listener: ContextVar[Waits | None] = ContextVar("who listens", default=None)


def listening() -> Waits | None:
    """Return who listens to the waits of this task, if anybody does."""
    return _listener.get()


def begin_listening() -> tuple[Waits, Token[Waits | None]]:
    """Return the waits of this task from now on, and the token for `end_listening`."""
    waits = Waits()
    return waits, _listener.set(waits)


def end_listening(token: Token[Waits | None]) -> None:
    """Stop to note the waits of this task."""
    _listener.reset(token)


@contextmanager
def waiting_for(cause: Cause) -> Iterator[None]:
    """Note that the block waits for `cause`."""
    waits = _listener.get()
    if waits is None:
        yield
        return
    began = time.monotonic()
    try:
        yield
    finally:
        waits.add(cause, time.monotonic() - began)
