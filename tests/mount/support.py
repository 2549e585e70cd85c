"""Real mounts for the tests: the command that people use, on the kernel, against a server on a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from remotefs.control.address import SOCKET_NAME
from remotefs.control.client import ControlClient
from remotefs.control.messages.base import Nothing
from remotefs.control.messages.status import FLUSH, STATUS, FlushParams, Status
from remotefs.control.mounts import mount_at, read_mounts
from remotefs.server.queries import ListQuery
from tests.faults import FaultyServer

# What a test waits for at most, in seconds; a hang is a failure long before the suite's own limit.
PATIENCE_S = 30.0
# Polls come often enough for a test to see them, and nothing lingers that a person would not mind.
QUICK = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "0.2",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "0.2",
    "REMOTEFS_REFRESH_REMOVAL_MIN_AGE_S": "0",
    "REMOTEFS_WRITEBACK_REUPLOAD_WAIT_S": "0.3",
    "REMOTEFS_WRITEBACK_TEMPORARY_GRACE_S": "0.6",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "1.0",
    "REMOTEFS_WRITEBACK_READBACK_AFTER_S": "0.2 0.6",
    "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "0.1",
    "REMOTEFS_CACHE_RESERVE_BYTES": "1048576",
    "REMOTEFS_CACHE_RESERVE_FRACTION": "0",
    # The budget has its own tests; here 500 requests a minute would be most of the time.
    "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "0",
    # After an unmount from outside, as at the end of each test: what a server that is gone keeps pending is left.
    "REMOTEFS_MOUNT_SIGNAL_DRAIN_S": "3",
}


def environment(key: str | None = None, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the machine's own settings gets in."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "REMOTEFS_"))}
    return plain | QUICK | dict(settings or {}) | ({"ANTHROPIC_API_KEY": key} if key else {})


def remotefs(
    *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "remotefs", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=timeout, env=dict(env or environment()),
    )  # fmt: skip


def run(
    *arguments: object, cwd: Path | None = None, check: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a tool; with `check`, its failure is the test's, with what it said."""
    done = subprocess.run(
        list(map(str, arguments)), capture_output=True, text=True, check=False, timeout=100, cwd=cwd, **options
    )
    assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def shell(script: str, cwd: Path, **options: Any) -> str:
    """Run a bash script in a folder; its output."""
    return run("bash", "-euc", script, cwd=cwd, **options).stdout


def eventually(claim: Callable[[], bool], timeout: float = PATIENCE_S) -> None:
    """Wait until a claim about the outside world holds: nothing else tells when another process is done."""
    end = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def is_mounted(path: Path) -> bool:
    return mount_at(path, read_mounts()) is not None


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Mounted:
    """A mount that runs in the background."""

    path: Path
    state: Path
    env: dict[str, str]
    arguments: tuple[object, ...] = field(default=())
    # A test that provokes an error nobody foresees says so; any other finds no traceback in the log at its end.
    may_log_tracebacks: bool = False

    @property
    def pid(self) -> int:
        return int(json.loads((self.state / "lock").read_text())["pid"])

    # Asked as the commands ask, without the second that it takes to start one; they have tests of their own.

    def status(self) -> Status:
        return self._control.call(STATUS, Nothing(), timeout_s=PATIENCE_S)

    def flush(self, path: str = "") -> None:
        """Wait until the service has everything, or what lies at `path`."""
        result = self._control.call(FLUSH, FlushParams(path=path, timeout_s=60), timeout_s=90)
        assert result.left == 0, result.leftovers

    @property
    def _control(self) -> ControlClient:
        return ControlClient(self.state / SOCKET_NAME)

    def xattr(self, name: str, attribute: str) -> str:
        return os.getxattr(self.path / name, f"user.remotefs.{attribute}").decode()

    def start(self) -> subprocess.CompletedProcess[str]:
        return remotefs("mount", self.path, "--state-dir", self.state, *self.arguments, env=self.env)

    def started(self) -> None:
        done = self.start()
        assert done.returncode == 0, done.stdout + done.stderr + self.log()

    def umount(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return remotefs("umount", self.path, "--timeout", timeout, env=self.env, timeout=timeout + 40)

    def remount(self) -> None:
        self.end()
        self.started()

    def signal(self, number: int) -> int:
        """Send the mount's process a signal; its pid."""
        pid = self.pid
        os.kill(pid, number)
        return pid

    def kill(self) -> None:
        """As a crash or the out-of-memory killer ends it."""
        pid = self.signal(signal.SIGKILL)
        eventually(lambda: not is_running(pid))

    def end(self) -> None:
        """Unmount from outside and wait until the process has drained and ended; whatever it takes."""
        pid = self.pid
        detach(self.path)
        with suppress(AssertionError):
            eventually(lambda: not is_running(pid), timeout=15)
            return
        os.kill(pid, signal.SIGKILL)
        raise AssertionError(f"the process {pid} did not end after it was unmounted\n{self.log()[-4000:]}")

    def log(self) -> str:
        path = self.state / "log" / "remotefs.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""


def detach(path: Path) -> None:
    """Take away what is mounted there, dead or alive."""
    while is_mounted(path):
        if subprocess.run(["fusermount3", "-u", str(path)], check=False, capture_output=True).returncode:
            subprocess.run(["fusermount3", "-uz", str(path)], check=False)


@contextmanager
def mounted(
    folder: Path, url: str, key: str, *arguments: object, settings: Mapping[str, str] | None = None
) -> Iterator[Mounted]:
    """A mount at `folder/mnt` with its state in `folder/state`, unmounted at the end whatever happened."""
    path = folder / "mnt"
    path.mkdir(parents=True, exist_ok=True)
    mount = Mounted(path, folder / "state", environment(key, settings), ("--base-url", url, *arguments))
    try:
        mount.started()
        yield mount
    finally:
        if is_mounted(path):
            mount.end()
        print(mount.log()[-6000:])
    assert mount.may_log_tracebacks or "Traceback" not in mount.log(), mount.log()[-6000:]


# -- what the service has and was asked for


def remote(path: str) -> str:
    """The filename that a path of ordinary characters has at the service (N1)."""
    return path.replace("/", "\uff0f")


def stored(server: FaultyServer, folder: str = "") -> dict[str, bytes]:
    """What the service has below a folder: content by path. Two files of one name are a failure."""
    prefix = remote(f"{folder}/") if folder else ""
    records = [r for r in server.store.list(ListQuery(limit=1000)).records if r.filename.startswith(prefix)]
    names = [record.filename.removeprefix(prefix).replace("\uff0f", "/") for record in records]
    assert len(set(names)) == len(names), names
    return {name: content_of(server, record.id) for name, record in zip(names, records, strict=True)}


def ids(server: FaultyServer) -> dict[str, str]:
    """The id of each file at the service by its filename; of conflict_copies the oldest."""
    return {record.filename: record.id for record in server.store.list(ListQuery(limit=1000)).records}


def ops(server: FaultyServer, since: int = 0) -> list[str]:
    """The operations from request number `since` on, but for listings: those come by themselves."""
    return [request.op for request in server.script.requests()[since:] if request.op != "list"]


def content_of(server: FaultyServer, file_id: str) -> bytes:
    # Not by a download: a faithful server refuses that of what was uploaded.
    with open(server.store._blobs.open(file_id), "rb") as file:
        return file.read()
