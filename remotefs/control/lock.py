"""Locks a state folder: one process at a time (A8)."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from remotefs.control.messages.base import Message
from remotefs.errors import StateLocked, StateUnusable

LOCK_NAME = "lock"


class Holder(Message, frozen=True):
    """The process that holds a state folder."""

    pid: int
    mountpoint: str

    @classmethod
    def here(cls, mountpoint: str) -> Holder:
        """Return this process as the holder."""
        return cls(pid=os.getpid(), mountpoint=mountpoint)


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
    """Return the process that took the lock last, as it wrote into the file; None where that cannot be read."""
    try:
        return msgspec.json.decode((state_dir / LOCK_NAME).read_bytes(), type=Holder)
    except (OSError, msgspec.DecodeError):
        return None


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
