"""The hand-over of a state folder from a mount that drains to one that starts (A3)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trio

from remotefs.control.address import SOCKET_NAME
from remotefs.control.client import ControlClient
from remotefs.control.lock import Holder, lock_state
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.mount import TAKEOVER
from remotefs.errors import StateLocked, TransportError

# flock has no notice of its release that could be cancelled: it is looked at this often.
POLL_S = 0.1
ASK_TIMEOUT_S = 5.0


async def ask_to_yield(state_dir: Path) -> bool:
    """Ask the holder to let go. Return False when it is in use and stays, True when it ends or does not answer."""
    client = ControlClient(state_dir / SOCKET_NAME)
    try:
        reply = await trio.to_thread.run_sync(lambda: client.call(TAKEOVER, Nothing(), timeout_s=ASK_TIMEOUT_S))
    except TransportError:
        return True
    return reply.yielding


@contextlib.asynccontextmanager
async def take_state(
    state_dir: Path,
    holder: Holder,
    *,
    wait_s: float,
    ask: Callable[[Path], Awaitable[bool]] = ask_to_yield,
) -> AsyncIterator[None]:
    """Hold the state folder as `lock_state` does, asking a process that drains to stop and waiting `wait_s` for it.

    Raises StateLocked at once when the holder is a mount in use, and after `wait_s` when it does not let go.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock_state(state_dir, holder))
        except StateLocked:
            if not await ask(state_dir):
                raise
            held.enter_context(await _wait_for(state_dir, holder, wait_s))
        yield


async def _wait_for(state_dir: Path, holder: Holder, wait_s: float) -> contextlib.ExitStack:
    deadline = trio.current_time() + wait_s
    while True:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(lock_state(state_dir, holder))
                return held.pop_all()
            except StateLocked:
                if trio.current_time() >= deadline:
                    raise
        await trio.sleep(POLL_S)
