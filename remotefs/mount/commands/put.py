"""`remotefs put` beside a mount: tells what is known of files that are there, and waits until the service has files."""

from __future__ import annotations

from remotefs.control.messages.base import Command, Report
from remotefs.control.messages.put import SENT, THERE, SentParams, SentResult, ThereParams, ThereResult
from remotefs.mount.assembly import Components
from remotefs.mount.transfers.known import there
from remotefs.mount.transfers.sending import Sending


class PutCommands:
    """Answers the command that copies files into the mount. It looks at all parts, so it is given all of them."""

    def __init__(self, parts: Components) -> None:
        self._parts = parts
        self._sending = Sending(parts)

    def all(self) -> list[Command]:
        """Return each command with its endpoint."""
        return [THERE.bind(self.there), SENT.bind(self.sent)]

    async def there(self, params: ThereParams, _: Report) -> ThereResult:
        """Return what is known of the file at a path. Raises NotFound."""
        return await there(self._parts, params)

    async def sent(self, params: SentParams, report: Report) -> SentResult:
        """Wait until the service has the files, or nothing moves. Return what became of each."""
        return SentResult(tuple(await self._sending.wait(params.inos, params.stall_s, report)))
