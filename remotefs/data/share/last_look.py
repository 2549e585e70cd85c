"""Asks the service a last time for files that are gone, right before their objects are deleted (X6)."""

from __future__ import annotations

from collections.abc import Sequence

from remotefs.api.budget import Priority
from remotefs.api.protocols import IdLister
from remotefs.errors import BadRequest, RemoteNotFound, ReplyBroken
from remotefs.store.remotes import Remotes


class LastLook:
    """Asks for ids together with one that the service has: an answer without that one says nothing."""

    def __init__(self, remotes: Remotes, lister: IdLister) -> None:
        self._remotes = remotes
        self._lister = lister

    async def still_there(self, file_ids: Sequence[str]) -> set[str] | None:
        """Return those of some ids that the service has; None if its answer cannot be relied on.

        One request for 99 ids. A server that lists no ids, or none that are gone, is asked for each; and so is one
        where no file is known. Raises RefusedError, TransportError.
        """
        witness = self._remotes.any_shown()
        if witness is None:
            return await self._each(file_ids)
        try:
            listed = {file.id for file in await self._lister.list_ids([witness, *file_ids], priority=Priority.POLL)}
        except (BadRequest, RemoteNotFound, ReplyBroken):
            return await self._each(file_ids) if await self._has(witness) else None
        return listed - {witness} if witness in listed else None

    async def _each(self, file_ids: Sequence[str]) -> set[str]:
        return {file_id for file_id in file_ids if await self._has(file_id)}

    async def _has(self, file_id: str) -> bool:
        try:
            await self._lister.metadata(file_id, priority=Priority.POLL)
        except RemoteNotFound:
            return False
        return True
