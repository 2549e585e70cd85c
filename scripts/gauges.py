"""Measuring instruments of the benchmarks: time, CPU time and memory of a process, a mount to measure, plain I/O."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import httpx

from tests.faults import FaultyServer
from tests.mount.support import Mounted
from tests.server_process import ServerProcess, environment

MB = 1_000_000
MIB = 1 << 20
_TEN_DAYS_US = 864_000_000_000
# What would be counted or waited for beside what is measured: polls, and the pace of requests.
_SETTINGS = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "3600",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "3600",
    "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "0",
    "REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "120",
}


def mount_of(
    folder: Path, server: ServerProcess | FaultyServer, *, durability: str = "remote", **settings: str
) -> Mounted:
    """A mount of the server, not started yet; `settings` are by the names of their variables."""
    path = folder / "mnt"
    path.mkdir(parents=True)
    chosen = _SETTINGS | {"REMOTEFS_WRITEBACK_DURABILITY": durability, "ANTHROPIC_API_KEY": server.key}
    return Mounted(path, folder / "state", environment(chosen | settings), ("--base-url", server.url))


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, by the clock that clock_getcpuclockid(3) names: finer than ticks."""
    return time.clock_gettime(~pid << 3 | 2)


def resident_bytes(pid: int) -> tuple[int, int]:
    """Memory of a process: now, and the most since it began or since `forget_peak`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in lines)
    now, most = (int(values[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def forget_peak(pid: int) -> None:
    """Begin anew with the most memory of a process, where that is allowed: 5 in clear_refs, proc(5)."""
    with suppress(PermissionError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def read(path: Path, block: int = MIB) -> None:
    """A file from its beginning to its end, into one buffer."""
    buffer = bytearray(block)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def write(path: Path, block: bytes, blocks: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())


def forget_pages(path: Path) -> None:
    """Make the kernel drop its pages of a file, but not those of what lies behind a mount."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def forget_all_pages() -> bool:
    """Make the kernel drop every clean page; whether this user may."""
    if os.geteuid() != 0:
        return False
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("1")
    return True


def post(server: ServerProcess, name: str, path: Path) -> str:
    """Upload a file; its id."""
    with path.open("rb") as file:
        part = {"file": (name, file, "application/octet-stream")}
        reply = httpx.post(f"{server.url}/v1/files", files=part, headers=server.headers, timeout=120)
    return str(reply.raise_for_status().json()["id"])


def seed(root: Path, names: Sequence[str]) -> None:
    """Rows of files that others made over ten days in a server's root, as fast as SQL can; they have no bytes."""
    step_us, now_us = _TEN_DAYS_US // len(names), time.time_ns() // 1000
    rows = (
        (f"file_seed{number:07}", now_us - (len(names) - number) * step_us, name) for number, name in enumerate(names)
    )
    with closing(sqlite3.connect(root / "files.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO files (id, created_us, filename, mime_type, size_bytes, downloadable)"
            " VALUES (?, ?, ?, 'text/plain', 1, 1)",
            rows,
        )
