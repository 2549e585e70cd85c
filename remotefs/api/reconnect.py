"""Finds out when the service answers again: asks one small question at a time while no answer comes (R7).

Meanwhile readers do not try for themselves, however many there are, and nothing is listed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from remotefs.api.connectivity import MAX_RETRY_S, Connectivity
from remotefs.backoff import backoff_s
from remotefs.errors import DeadlineExceeded, OutOfSockets, RemotefsError, Unreachable


class Reconnect:
    """Asks by `question`, which always ends, at the pace of `retry_s`; calls `on_answer` after an answer."""

    def __init__(
        self, connectivity: Connectivity, question: Callable[[], Awaitable[object]], on_answer: Callable[[], None]
    ) -> None:
        self._connectivity = connectivity
        self._question = question
        self._on_answer = on_answer

    async def run(self) -> None:
        """Ask whenever the connection is down for want of an answer, until cancelled."""
        tries = 0
        while True:
            if self._connectivity.unanswered is None:
                tries = 0
                await self._connectivity.changed()
                continue
            # Also after an error that says nothing about the connection, such as one of this disk.
            await trio.sleep(max(self._connectivity.retry_s, backoff_s(1.0, MAX_RETRY_S, tries - 1) if tries else 0.0))
            if self._connectivity.unanswered is not None:
                tries += 1
                await self._try()

    async def _try(self) -> None:
        began = trio.current_time()
        try:
            await self._connectivity.watch(self._question)
        except (Unreachable, DeadlineExceeded) as error:
            self._connectivity.unheard(error, since=began)
            return
        except OutOfSockets:
            return  # it was not asked
        except RemotefsError:
            pass  # an answer all the same; `watch` has noted it
        self._on_answer()
