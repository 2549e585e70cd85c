"""The test's side of `probefs.py`: mounts it, scripts it, asks what it saw."""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any

from remotefs.control.mounts import mount_at, read_mounts

PROBEFS = Path(__file__).with_name("probefs.py")
CONNECTIONS = Path("/sys/fs/fuse/connections")
# Nothing here takes two seconds on a quiet machine. Past this the connection is aborted, so that no test hangs for good.
DEADLINE_S = 60.0
libc = ctypes.CDLL(None, use_errno=True)


def eventually(condition: Callable[[], bool]) -> None:
    """Poll kernel state that has no event to wait for."""
    end = time.monotonic() + DEADLINE_S / 2
    while not condition():
        assert time.monotonic() < end, "the awaited state never came"
        time.sleep(0.002)


def mount_fusectl() -> None:
    if not any(CONNECTIONS.iterdir()):
        subprocess.run(["mount", "-t", "fusectl", "fusectl", CONNECTIONS], check=False, capture_output=True)


@contextmanager
def as_user(uid: int, folder: Path) -> Iterator[None]:
    """This thread's file access under another uid and gid, its capabilities over files gone; relative to `folder`."""
    with chdir(folder):
        libc.setfsgid(uid)
        libc.setfsuid(uid)
        try:
            yield
        finally:
            libc.setfsuid(0)
            libc.setfsgid(0)


class Call:
    """A blocking call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._outcome: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome = self._call()
        except OSError as problem:
            self._outcome = problem

    def result(self) -> Any:
        """What it returned, or the name of the errno it failed with."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the call never came back"
        return errno_name(self._outcome)

    def assert_held_up(self) -> None:
        """Wait until it sleeps in the kernel on a lock, not on an answer of the file system."""
        eventually(lambda: not self._thread.is_alive() or self._waits_for_a_lock())
        assert self._thread.is_alive(), "the call was not held up"

    def _waits_for_a_lock(self) -> bool:
        place = Path(f"/proc/self/task/{self._thread.native_id}/wchan").read_text()
        return place not in {"0", "", "request_wait_answer"} and "futex" not in place


def errno_name(outcome: Any) -> Any:
    return errno.errorcode[outcome.errno or 0] if isinstance(outcome, OSError) else outcome


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or the name of the errno it fails with."""
    try:
        return call()
    except OSError as problem:
        return errno_name(problem)


def in_shell(script: str) -> None:
    subprocess.run(["/bin/sh", "-c", script], check=True)


class Probe:
    """A mounted probe file system. `root` is the mountpoint; `process` the one that serves it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.root = folder / "mnt"
        self.root.mkdir(parents=True)
        self.socket_path = folder / "control"
        self._numbers = itertools.count()
        arguments = [sys.executable, str(PROBEFS), str(self.root), str(self.socket_path), json.dumps(config)]
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
        self._control = socket.socket(socket.AF_UNIX)
        self._control.settimeout(DEADLINE_S)
        try:
            self._connect()
        except BaseException:
            self.process.kill()
            self.close()
            raise
        self.connection = CONNECTIONS / str(os.minor(self.root.stat().st_dev))

    def _connect(self) -> None:
        eventually(lambda: self.socket_path.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, "the probe ended"
        eventually(lambda: self._control.connect_ex(str(self.socket_path)) == 0)

    def close(self) -> None:
        """Unmount, whatever still waits in it."""
        self.abort()
        subprocess.run(["fusermount3", "-u", "-z", "-q", self.root], check=False)
        self._control.close()
        self.process.communicate(timeout=DEADLINE_S)

    def abort(self) -> None:
        """End the connection: whoever waits in it gets ECONNABORTED.

        Not once it is unmounted: the kernel gives its number to the next mount, of any process.
        """
        if mount_at(self.root, read_mounts()) is not None:
            with suppress(OSError):
                (self.connection / "abort").write_text("1")

    @contextmanager
    def watched(self) -> Iterator[Probe]:
        """For one test: it starts without rules and records, and is aborted when it takes too long."""
        self.do("clear_rules")
        self.forget_log()
        watchdog = threading.Timer(DEADLINE_S, self.abort)
        watchdog.start()
        try:
            yield self
        finally:
            watchdog.cancel()

    # -- commands ---------------------------------------------------------------------------------------------------

    def do(self, command: str, **arguments: Any) -> Any:
        self._control.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
        with self._control.makefile("r") as lines:
            return json.loads(lines.readline())

    def do_meanwhile(self, command: str, **arguments: Any) -> Call:
        """The same over a connection of its own, for a command that may wait."""

        def run() -> Any:
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(self.socket_path))
                control.sendall(json.dumps({"do": command, **arguments}).encode() + b"\n")
                with control.makefile("r") as lines:
                    return json.loads(lines.readline())

        return Call(run)

    def fresh(self) -> str:
        """A name that no test used yet, so that nothing about it is cached."""
        return f"n{next(self._numbers)}"

    def make(self, data: str = "", name: str = "", mode: int = 0o100644, **changes: Any) -> Path:
        """A file in the root behind the kernel's back; `changes` are further fields of its `Node`."""
        name = name or self.fresh()
        self.do("make", name=name, data=data, mode=mode, **changes)
        return self.root / name

    def change(self, path: Path, **changes: Any) -> None:
        """Change fields of a `Node` behind the kernel's back."""
        self.do("change", name=path.name, **changes)

    def rule(self, op: str, name: str | None = None, times: int = 1, **action: Any) -> None:
        """Spoil the next `times` requests `op` (of `name`) by `gate=` to wait for, `errno=`, `exception=`, `short=`."""
        self.do("rule", op=op, name=name, times=times, **action)

    def wait_for(self, op: str, name: str | None = None, count: int = 1) -> None:
        self.do("wait_for", op=op, name=name, count=count)

    def release(self, gate: str) -> None:
        self.do("release_gate", gate=gate)

    def blocked_in(self, command: str) -> bool:
        """Whether a thread of the probe sleeps in the kernel in `command`: invalidate (a write of /dev/fuse)."""
        assert command == "invalidate"
        stacks = Path(f"/proc/{self.process.pid}/task").glob("*/stack")
        return any("fuse_notify" in stack.read_text() or "fuse_reverse_inval" in stack.read_text() for stack in stacks)

    def forget_log(self) -> None:
        self.do("forget_log")

    def requests(self, *ops: str, name: str | None = None) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = self.do("log")
        return [r for r in log if (not ops or r["op"] in ops) and name in {None, r["name"]}]

    def ops(self, name: str | None = None) -> list[str]:
        return [r["op"] for r in self.requests(name=name)]

    def one(self, op: str, name: str | None = None) -> dict[str, Any]:
        """The only request `op` so far."""
        (request,) = self.requests(op, name=name)
        return request

    def setting(self, name: str) -> int:
        """A number of the connection in fusectl: waiting, max_background, congestion_threshold."""
        return int((self.connection / name).read_text())
