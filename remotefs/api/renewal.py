"""Looks for another key once the service has refused the one in use, so that a new key needs no new mount.

The key is read again from its source, at most every few seconds. A key that differs is tried by a listing of one file
before anything else is sent with it: its reply shows whose files it opens, as at a start (S1).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable

import trio

from remotefs.config import ServiceConfig
from remotefs.credentials import KeyRing
from remotefs.errors import AccountError, LocalError, RemotefsError

_log = logging.getLogger(__name__)
# The shortest time between two looks at a file, and between two runs of a command, which may ask a person.
FILE_EVERY_S = 5.0
COMMAND_EVERY_S = 60.0


class KeyRenewal:
    """Finds the next key for all requests that were refused with the last one.

    `try_key` sends a request with the settings that it is given and takes in whose reply it is; it raises where the
    service or the guard of the account refuses them.
    """

    def __init__(self, keys: KeyRing, try_key: Callable[[ServiceConfig], Awaitable[None]]) -> None:
        self._keys = keys
        self._try_key = try_key
        self._lock = trio.Lock()
        self._not_before = -math.inf

    async def is_renewed(self, generation: int) -> bool:
        """Return whether another key than the one of `generation` is in use, after a look where one may come.

        Raises AccountError for a key of another account.
        """
        if self._keys.generation == generation and self._keys.can_change:
            async with self._lock:
                if self._keys.generation == generation and trio.current_time() >= self._not_before:
                    await self._look()
        return self._keys.generation != generation

    async def _look(self) -> None:
        is_command = self._keys.service.key_command is not None
        self._not_before = trio.current_time() + (COMMAND_EVERY_S if is_command else FILE_EVERY_S)
        try:
            found = await trio.to_thread.run_sync(self._keys.read_again)
            if found is None:
                return
            await self._try_key(found)
        except AccountError:
            raise
        except (RemotefsError, OSError) as error:
            _log.warning("the key was refused, and there is no other: %s", error)
            return
        self._keys.take(found)
        key = found.api_key or found.auth_token
        _log.info("the service takes a new key, from %s", key and key.origin)
        try:
            await trio.to_thread.run_sync(self._keys.note_taken)
        except LocalError as error:
            _log.warning("the next start has to ask whose the new key is: %s", error)
