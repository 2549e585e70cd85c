"""`remotefs put` beside a mount: tells whether bytes are there already, and waits until the service has files."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.put import SAME, SENT, SameParams, SameResult, SentParams, SentResult
from remotefs.mount.assembly import Components
from remotefs.mount.transfers.sending import Sending
from remotefs.mount.transfers.unmounted_target import holds


class PutCommands:
    """Answers the command that copies files into the mount. It looks at all parts, so it is given all of them."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._sending = Sending(parts)

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [SAME.bind(self.same), SENT.bind(self.sent)]

    async def same(self, params: SameParams, _: Report) -> SameResult:
        """Return whether the service has these bytes under a path."""
        return SameResult(await holds(self._parts, params.path, params.size, params.digest))

    async def sent(self, params: SentParams, report: Report) -> SentResult:
        """Wait until the service has the files, or nothing moves. Return what became of each."""
        return SentResult(tuple(await self._sending.wait(params.inos, params.stall_s, report)))
