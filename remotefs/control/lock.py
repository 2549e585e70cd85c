"""One process at a time for a state folder, and the hand-over from one that drains to one that mounts (A3)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import trio

from remotefs.control.address import SOCKET_NAME
from remotefs.control.client import ControlClient
from remotefs.control.messages import TAKEOVER, Message, Nothing
from remotefs.errors import StateLocked, StateUnusable, TransportError

LOCK_NAME = "lock"
# flock has no notice of its release that could be cancelled: it is looked at this often.
POLL_S = 0.1
ASK_TIMEOUT_S = 5.0


class Holder(Message, frozen=True):
    """Who holds a state folder."""

    pid: int
    mountpoint: str


@contextlib.contextmanager
def lock_state(state_dir: Path, holder: Holder) -> Iterator[None]:
    """Hold `state_dir` while the context lasts; the kernel lets go when the process ends, however it ends.

    Raises StateLocked, with the holder's pid and mountpoint in its sentence, and StateUnusable.
    """
    fd = _open(state_dir)
    try:
        _take(fd, state_dir)
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(holder), 0)
        yield
    finally:
        os.close(fd)


def holder_of(state_dir: Path) -> Holder | None:
    """Who took the lock last, as written inside; None when nothing readable is there."""
    try:
        return msgspec.json.decode((state_dir / LOCK_NAME).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


def is_held(state_dir: Path) -> bool:
    """Whether a process holds the folder now."""
    try:
        fd = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


async def ask_to_yield(state_dir: Path) -> bool:
    """Ask the holder to let go. False: it is in use and stays. True: it goes, or nobody answers, so it may be going."""
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
    """As `lock_state`, after asking a process that drains to stop and waiting at most `wait_s` for it.

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


def _open(state_dir: Path) -> int:
    try:
        return os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnusable(f"{state_dir}: its lock cannot be opened: {error.strerror}") from error


def _take(fd: int, state_dir: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StateLocked(_held(state_dir, holder_of(state_dir))) from error


def _held(state_dir: Path, holder: Holder | None) -> str:
    who = f"process {holder.pid}, mounted at {holder.mountpoint}" if holder else "another process"
    return (
        f"the state folder {state_dir} is in use by {who}; unmount that first, or give this mount another --state-dir"
    )
