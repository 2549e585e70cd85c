"""Owns a helper process: starts it, has it make calls, and gets rid of one that hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from remotefs.errors import LocalError
from remotefs.mount.announcing import helper

# Read at the start of the mount: a helper that an upgrade has replaced meanwhile might speak otherwise (H7).
_SOURCE = Path(helper.__file__).read_bytes()
# A call takes a millisecond; one that takes longer waits for something that the mount cannot see.
DEADLINE_S = 2.0
_FIELDS = 8
# The first packet is the source, so that lists of processes stay readable.
_RUN_SOURCE = "import os; exec(os.read(0, 65536))"
_SHOWN_AS = "remotefs-announcer"
# The most that a packet may hold.
MAX_PACKET_BYTES = 60_000


class HelperHangs(LocalError):
    """The helper gave no answer in time, or is gone."""


class HelperProcess:
    """One process at a time; `note_pids` is told which processes of helpers there are, also of those that still end."""

    def __init__(self, note_pids: Callable[[set[int]], None]) -> None:
        self._note_pids = note_pids
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: trio.socket.SocketType | None = None
        self._ending: list[subprocess.Popen[bytes]] = []

    @property
    def is_running(self) -> bool:
        """Return whether there is a helper to ask."""
        return self._process is not None

    async def start(self) -> None:
        """Start a helper. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, trio.CancelScope(shield=True):
                self._process = await trio.to_thread.run_sync(_start, theirs)
        except BaseException:
            ours.close()
            raise
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._tell()
        await self._socket.send(_SOURCE)

    async def call(self, kind: str, device: int, *fields: bytes) -> int:
        """Have the helper make a call and return its reply. Raises HelperHangs, after which there is no helper."""
        assert self._socket is not None
        padding = [b""] * (_FIELDS - 2 - len(fields))
        packet = b"\0".join([kind.encode(), str(device).encode(), *fields, *padding])
        reply = b""
        try:
            with trio.move_on_after(DEADLINE_S):
                await self._socket.send(packet)
                reply = await self._socket.recv(64)
        except OSError:
            reply = b""  # it is gone
        except BaseException:
            # Nobody waits for the reply, which must not be taken for that of the next call.
            self.end()
            raise
        if not reply:
            self.end()
            raise HelperHangs("the process that announces changes of others did not answer")
        return int(reply)

    def end(self) -> None:
        """Kill the helper. It is gone once the kernel lets go of the call that it is in; nobody waits for that."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._ending.append(self._process)
            self._process = None
        self.reap()

    def reap(self) -> None:
        """Take note of killed helpers that are gone. Only then may their numbers be those of other processes."""
        # Told before the process is waited for: until then its number is not given away.
        for process in [it for it in self._ending if _has_ended(it.pid)]:
            self._ending.remove(process)
            self._tell()
            process.wait()
        self._tell()

    def _tell(self) -> None:
        self._note_pids({it.pid for it in (self._process, *self._ending) if it is not None})


def _start(theirs: socket.socket) -> subprocess.Popen[bytes]:
    # A session of its own, so that Ctrl-C at the terminal does not reach it. No descriptor but its socket.
    return subprocess.Popen(  # noqa: S603 - this interpreter and our own source
        [sys.executable, "-I", "-S", "-c", _RUN_SOURCE, _SHOWN_AS],
        stdin=theirs.fileno(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=True,
        cwd="/",
        env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
        start_new_session=True,
    )


def _has_ended(pid: int) -> bool:
    """Return whether a child has ended, without waiting for it: its number stays taken."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True
