"""Real mounts for the tests: the command that people use, on the kernel, against a server on a real socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What a test waits for at most, in seconds; a hang is a failure long before the suite's own limit.
PATIENCE_S = 30.0
# Polls come often enough for a test to see them, and nothing lingers that a person would not mind.
QUICK = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "0.2",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "0.2",
    "REMOTEFS_WRITEBACK_RELABEL_WAIT_S": "0.3",
    "REMOTEFS_WRITEBACK_TEMPORARY_GRACE_S": "0.6",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "0.3",
    "REMOTEFS_WRITEBACK_SETTLE_S": "0.1",
    "REMOTEFS_CACHE_RESERVE_BYTES": "1048576",
    "REMOTEFS_CACHE_RESERVE_FRACTION": "0",
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
        [*map(str, arguments)], capture_output=True, text=True, check=False, timeout=120, cwd=cwd, **options
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
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


@dataclass
class Mounted:
    """A mount that runs in the background."""

    path: Path
    state: Path
    env: dict[str, str]
    arguments: tuple[object, ...] = field(default=())

    @property
    def pid(self) -> int:
        return int(json.loads((self.state / "lock").read_text())["pid"])

    def status(self) -> dict[str, Any]:
        done = remotefs("status", self.path, "--json", env=self.env)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def flush(self) -> None:
        done = remotefs("flush", self.path, "--timeout", "60", env=self.env, timeout=90)
        assert done.returncode == 0, done.stdout + done.stderr

    def xattr(self, name: str, attribute: str) -> str:
        return os.getxattr(self.path / name, f"user.remotefs.{attribute}").decode()

    def start(self) -> subprocess.CompletedProcess[str]:
        return remotefs("mount", self.path, "--state-dir", self.state, *self.arguments, env=self.env)

    def umount(self, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return remotefs("umount", self.path, "--timeout", timeout, env=self.env, timeout=timeout + 30)

    def remount(self) -> None:
        done = self.umount()
        assert done.returncode == 0, done.stderr
        done = self.start()
        assert done.returncode == 0, done.stderr

    def kill(self) -> None:
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])

    def log(self) -> str:
        path = self.state / "log" / "remotefs.log"
        return path.read_text(encoding="utf-8") if path.exists() else ""


@contextmanager
def mounted(
    folder: Path, url: str, key: str, *arguments: object, settings: Mapping[str, str] | None = None
) -> Iterator[Mounted]:
    """A mount at `folder/mnt` with its state in `folder/state`, unmounted at the end whatever happened."""
    path = folder / "mnt"
    path.mkdir(parents=True, exist_ok=True)
    mount = Mounted(path, folder / "state", environment(key, settings), ("--base-url", url, *arguments))
    done = mount.start()
    assert done.returncode == 0, done.stdout + done.stderr + mount.log()
    try:
        yield mount
    finally:
        if is_mounted(path):
            ended = mount.umount(5)
            if is_mounted(path):
                subprocess.run(["fusermount3", "-uz", str(path)], check=False)
                print(ended.stdout, ended.stderr)
        print(mount.log()[-4000:])
