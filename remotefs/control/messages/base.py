"""The plumbing of the messages, and the records that several groups of commands share.

Progress is what happens on the way, reports and results are what a command ends with. Paths are strings relative to
the root of the tree, `""` being that root, also where a mount shows a part of the tree; times are seconds since the
epoch; sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the protocol. Unknown fields are ignored: a newer mount may answer an older command line."""


class Nothing(Message, frozen=True):
    """No parameters."""


class Count(Message, frozen=True):
    """How many."""

    count: int


class Leftover(Message, frozen=True):
    """A path with something that the service does not have yet, and why."""

    path: str
    reason: str


class DrainResult(Message, frozen=True):
    """What the service did not get in time: `left` intents, the first of them by name."""

    left: int
    leftovers: tuple[Leftover, ...] = ()


class Ready(Message, frozen=True, tag="ready"):
    """The mount answers: the first `stat` of its root came back."""


class Listing(Message, frozen=True, tag="listing"):
    """The first listing goes on."""

    files: int


class Draining(Message, frozen=True, tag="draining"):
    """Changes are being carried out; `left` are not yet, `path` is one of them. `eta_s` as fast as so far."""

    left: int
    path: str | None = None
    eta_s: float | None = None


class Warming(Message, frozen=True, kw_only=True, tag="warming"):
    """Progress of a fetch: files and bytes that are done, and the totals."""

    files_done: int
    files: int
    bytes_done: int
    bytes: int


class Notice(Message, frozen=True, tag="notice"):
    """One sentence that the person who waits should read."""

    text: str


Progress = Ready | Listing | Draining | Warming | Notice
Report = Callable[[Progress], None]
P = TypeVar("P", bound=msgspec.Struct)
R = TypeVar("R", bound=msgspec.Struct)


@dataclass(frozen=True)
class Command:
    """A command with the code that carries it out; made by `Endpoint.bind`."""

    name: str
    params: type[msgspec.Struct]
    run: Callable[[Any, Report], Awaitable[msgspec.Struct]]


@dataclass(frozen=True)
class Endpoint(Generic[P, R]):
    """A command's name with the types of its parameters and of its result."""

    name: str
    params: type[P]
    result: type[R]

    def bind(self, run: Callable[[P, Report], Awaitable[R]]) -> Command:
        """Return the command carried out by `run(params, report)`, whose RemotefsErrors go to the caller.

        `run` is cancelled when the caller hangs up: what has to go on without it is started elsewhere.
        """
        return Command(self.name, self.params, run)
