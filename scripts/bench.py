"""Measure a mount and its peers: `python scripts/bench.py [--quick] [--only tree,stream,small,bulk] [--root DIR]`.

Prints tables in Markdown, as they stand in docs/benchmarks.md. MB are 10^6 bytes; "CPU" is the user and system time of
the process that serves the mount, which a busy machine changes less than the time on the clock. Everything runs against
a local server on loopback. DIR holds what is written; it should lie on the disk that matters.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.mount.support import Mounted, detach, eventually, is_mounted
from tests.server_process import ServerProcess, environment, running_server

_MB = 1_000_000
_MIB = 1 << 20
_DAY_US = 86_400_000_000
_TICKS = os.sysconf("SC_CLK_TCK")
_WRITERS = 8
_DURABILITIES = ("remote", "strict", "local")
_SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
# What would be counted or waited for beside what is measured: polls, and the pace of requests.
_SETTINGS = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "3600",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "3600",
    "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "0",
    "REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "120",
}


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    folders: int
    files: int
    stream_mb: int
    small_files: int
    bulk_files: int


FULL = Size(folders=2000, files=100_000, stream_mb=450, small_files=300, bulk_files=1000)
QUICK = Size(folders=200, files=10_000, stream_mb=50, small_files=60, bulk_files=160)

Row = tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A mounted folder, and the process that serves it, if one does."""

    path: Path
    pid: int | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of: %(default)s")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk to measure on")
    given = parser.parse_args()
    # A process that may not keep its compiled modules compiles them at each start: that is not what is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    size = QUICK if given.quick else FULL
    table(("machine", ""), machine())
    for name in given.only.split(","):
        with tempfile.TemporaryDirectory(dir=given.root) as folder:
            SECTIONS[name](Path(folder), size)
    print(f"\nLoad at the end: {load()}")


def machine() -> list[Row]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        ("date", f"{datetime.now(UTC):%Y-%m-%d}"),
        ("processor", f"{model}, {os.cpu_count()} cores"),
        ("memory", f"{memory:.0f} GiB"),
        ("kernel", platform.release()),
        ("Python", platform.python_version()),
        ("load at the start", load()),
    ]


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


# -- a tree of many files


def tree(folder: Path, size: Size) -> None:
    """Listings and walks of a large known tree, and the same walks on other file systems."""
    print(f"\n### {size.files:,} files in {size.folders:,} folders")
    with running_server(folder / "server", "--log-requests") as server:
        seed(server.root, size)
        rows, walks = known_tree(folder, server, size)
        table(("remotefs", "time", "CPU", "requests", "resident now", "at most"), rows)
    walks += [walked(name, make(folder, size), size) for name, make in PEERS.items() if is_there(name)]
    table(("right after mounting", *WALKS), walks)


def seed(root: Path, size: Size) -> None:
    """Rows of files that others made over some days, as fast as SQL can."""
    step_us = 10 * _DAY_US // size.files
    now_us = time.time_ns() // 1000
    rows = (
        (f"file_seed{n:07}", now_us - (size.files - n) * step_us, f"dir{n % size.folders:04}／file-{n}.txt")
        for n in range(size.files)
    )
    with closing(sqlite3.connect(root / "files.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO files (id, created_us, filename, mime_type, size_bytes, downloadable)"
            " VALUES (?, ?, ?, 'text/plain', 1, 1)",
            rows,
        )


def known_tree(folder: Path, server: ServerProcess, size: Size) -> tuple[list[Row], list[Row]]:
    mount = mount_of(folder, server)
    gauge = Gauge(server, mount)
    rows = [gauge.row("first mount: the whole listing", mount.started)]
    mount.end()
    rows.append(gauge.row("mount with a known tree, to the first `ls`", lambda: (mount.started(), listed(mount.path))))
    # The mount catches up once with what others did meanwhile: that is not what the walks ask.
    eventually(lambda: mount.status().last_poll_at is not None)
    try:
        rows += [gauge.row(words, lambda walk=walk: walk(mount.path, size)) for words, walk in WALKS.items()]
    finally:
        mount.end()
    return rows, [("remotefs", *(f"{took}, CPU {cpu}" for _, took, cpu, *_ in rows[-len(WALKS) :]))]


def walked(name: str, places: Iterator[Place], size: Size) -> Row:
    with contextmanager(lambda: places)() as place:
        return (name, *(walk_cost(place, lambda walk=walk: walk(place.path, size)) for walk in WALKS.values()))


def walk_cost(place: Place, walk: Callable[[], None]) -> str:
    before = cpu_s(place.pid) if place.pid else 0.0
    took = seconds(timed(walk))
    return f"{took}, CPU {seconds(cpu_s(place.pid) - before)}" if place.pid else took


def find(path: Path, size: Size) -> None:
    lines = output_lines("find", path, "-printf", "%s %p\\n")
    assert lines == 1 + size.folders + size.files, lines


def ls(path: Path, size: Size) -> None:
    assert output_lines("ls", "-lR", path) > size.folders + size.files


WALKS: dict[str, Callable[[Path, Size], None]] = {
    "`find -printf` of all": find,
    "the same again": find,
    "`ls -lR`": ls,
}


def listed(path: Path) -> None:
    assert output_lines("ls", path)


def output_lines(*command: object) -> int:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout.count(b"\n")


# -- other file systems, each mounted anew and unmounted at the end


def on_disk(folder: Path, size: Size) -> Iterator[Place]:
    path = made_tree(folder, size)
    if os.geteuid() == 0:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("2")
    yield Place(path)


def on_bare_tree(folder: Path, size: Size) -> Iterator[Place]:
    script = Path(__file__).parent / "bare_tree.py"
    yield from serving(folder / "bare", [sys.executable, script, folder / "bare", size.folders, size.files])


def on_sshfs(folder: Path, size: Size) -> Iterator[Place]:
    # The server's program on a pipe: no daemon, no network, no encryption.
    script = folder / "sftp"
    script.write_text(f"#!/bin/sh\nexec {_SFTP_SERVER}\n")
    script.chmod(0o700)
    source = made_tree(folder, size)
    command = ["sshfs", "-f", "-o", f"ssh_command={script}", f"localhost:{source}", folder / "sshfs"]
    yield from serving(folder / "sshfs", command)


def on_rclone(folder: Path, size: Size) -> Iterator[Place]:
    source = made_tree(folder, size)
    yield from serving(folder / "rclone", ["rclone", "mount", source, folder / "rclone", "--config", "/dev/null"])


PEERS: dict[str, Callable[[Path, Size], Iterator[Place]]] = {
    "ext4, or what the folder lies on": on_disk,
    "a bare tree in memory on pyfuse3": on_bare_tree,
    "sshfs, the server on a pipe": on_sshfs,
    "rclone mount of a local folder": on_rclone,
}


def is_there(name: str) -> bool:
    program = name.partition(" ")[0].rstrip(",")
    if program == "sshfs" and not _SFTP_SERVER.exists():
        return False
    return program not in {"sshfs", "rclone"} or shutil.which(program) is not None


def made_tree(folder: Path, size: Size) -> Path:
    """The same tree on the disk; made once."""
    root = folder / "tree"
    if not root.exists():
        for n in range(size.folders):
            (root / f"dir{n:04}").mkdir(parents=True)
        for n in range(size.files):
            (root / f"dir{n % size.folders:04}" / f"file-{n}.txt").write_bytes(b"1")
    return root


def serving(path: Path, command: list[object]) -> Iterator[Place]:
    path.mkdir()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: is_mounted(path) or process.poll() is not None)
        assert is_mounted(path), f"{command[0]} ended with {process.poll()}"
        yield Place(path, process.pid)
    finally:
        detach(path)
        process.wait(30)


# -- one large file


def stream(folder: Path, size: Size) -> None:
    """A large file in and out."""
    print(f"\n### A file of {size.stream_mb} MB")
    block = os.urandom(_MIB)
    blocks = size.stream_mb * _MB // _MIB
    plain = folder / "plain"
    rows = [
        ("the disk alone, with fsync", f"{blocks * _MIB / _MB / timed(lambda: write(plain, block, blocks)):.0f}", *"--")
    ]
    with running_server(folder / "server", "--log-requests") as server:
        post(server, "cold.bin", plain)
        mount = mount_of(folder, server)
        mount.started()
        gauge = Gauge(server, mount)
        rate = lambda words, act: gauge.rate(words, act, blocks * _MIB)  # noqa: E731 - a row each, in one line each
        try:
            rows.append(rate("write and close, with the upload", lambda: write(mount.path / "new.bin", block, blocks)))
            rows.append(rate("read it", lambda: read(mount.path / "new.bin")))
            rows.append(rate("read a file that is not here yet", lambda: read(mount.path / "cold.bin")))
            rows.append(rate("read it again, from the kernel's cache", lambda: read(mount.path / "cold.bin")))
            mount.remount()
            rows.append(rate("read it after a remount, from our disk", lambda: read(mount.path / "cold.bin")))
        finally:
            mount.end()
    table(("", "MB/s", "requests", "resident at most"), rows)


def write(path: Path, block: bytes, blocks: int) -> None:
    with path.open("wb", buffering=0) as file:
        for _ in range(blocks):
            file.write(block)
        os.fsync(file.fileno())


def read(path: Path) -> None:
    buffer = bytearray(_MIB)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def post(server: ServerProcess, name: str, path: Path) -> None:
    with path.open("rb") as file:
        part = {"file": (name, file, "application/octet-stream")}
        httpx.post(f"{server.url}/v1/files", files=part, headers=server.headers, timeout=120).raise_for_status()


# -- many small files


def small(folder: Path, size: Size) -> None:
    """Create, write 1,000 bytes, close, one after another; and until the service has them all."""
    print(f"\n### {size.small_files} files of 1,000 bytes, one after another")
    rows = []
    for durability in _DURABILITIES:
        with running_server(folder / f"server-{durability}", "--log-requests") as server:
            mount = mount_of(folder / durability, server, durability=durability)
            mount.started()
            try:
                written = timed(lambda mount=mount: write_small(mount.path, size.small_files))
                settled = timed(mount.flush)
            finally:
                mount.end()
            each = written / size.small_files * 1000
            rows.append((
                f"`{durability}`",
                f"{each:.1f} ms",
                seconds(written),
                seconds(settled),
                requests_since(server, 1),
            ))
    table(("durability", "create and close", "all", "then until all are uploaded", "requests"), rows)


def write_small(path: Path, count: int) -> None:
    for n in range(count):
        (path / f"{n}.bin").write_bytes(n.to_bytes(4, "little") * 250)


# -- many files at once


def bulk(folder: Path, size: Size) -> None:
    """`cp -a` of files of 64 KiB, by one and by eight writers, and until the service has them all."""
    print(f"\n### `cp -a` of {size.bulk_files:,} files of 64 KiB")
    source = folder / "source"
    for writer in range(_WRITERS):
        (source / f"{writer}").mkdir(parents=True)
    for n in range(size.bulk_files):
        (source / f"{n % _WRITERS}" / f"{n}.bin").write_bytes(os.urandom(65_536))
    rows = [
        bulk_row(folder / f"{durability}-{writers}", source, durability, writers, size.bulk_files)
        for durability in ("remote", "local")
        for writers in (1, _WRITERS)
    ]
    table(("durability", "writers", "copied in", "files/s", "all uploaded after", "files/s", "CPU", "a file"), rows)


def bulk_row(folder: Path, source: Path, durability: str, writers: int, files: int) -> Row:
    with running_server(folder / "server") as server:
        mount = mount_of(folder, server, durability=durability)
        mount.started()
        try:
            before = cpu_s(mount.pid)
            copied = timed(lambda: copy_all(source, mount.path, writers))
            settled = copied + timed(mount.flush)
            used = cpu_s(mount.pid) - before
        finally:
            mount.end()
    rates = (f"{files / copied:.0f}", f"{files / settled:.0f}")
    each = f"{used / files * 1000:.1f} ms"
    return (f"`{durability}`", f"{writers}", seconds(copied), rates[0], seconds(settled), rates[1], seconds(used), each)


def copy_all(source: Path, target: Path, writers: int) -> None:
    parts = [source] if writers == 1 else sorted(source.iterdir())
    running = [subprocess.Popen(["cp", "-a", part, target / part.name]) for part in parts]
    assert [process.wait() for process in running] == [0] * len(parts)


# -- measuring


def mount_of(folder: Path, server: ServerProcess, *, durability: str = "remote") -> Mounted:
    path = folder / "mnt"
    path.mkdir(parents=True)
    settings = _SETTINGS | {"REMOTEFS_WRITEBACK_DURABILITY": durability, "ANTHROPIC_API_KEY": server.key}
    return Mounted(path, folder / "state", environment(settings), ("--base-url", server.url))


@dataclass
class Gauge:
    """What an action takes: time, the mount's CPU time and memory, requests."""

    server: ServerProcess
    mount: Mounted

    def row(self, words: str, act: Callable[[], object]) -> Row:
        requests, cpu = len(self.server.requests()), self._cpu_s()
        took = timed(act)
        used = self._cpu_s() - (cpu if cpu <= self._cpu_s() else 0.0)
        return (words, seconds(took), seconds(used), requests_since(self.server, requests), *self._memory())

    def rate(self, words: str, act: Callable[[], object], size_bytes: int) -> Row:
        requests = len(self.server.requests())
        took = timed(act)
        return (words, f"{size_bytes / _MB / took:.0f}", requests_since(self.server, requests), self._memory()[1])

    def _cpu_s(self) -> float:
        """0 while nothing is mounted."""
        return cpu_s(self.mount.pid) if is_mounted(self.mount.path) else 0.0

    def _memory(self) -> tuple[str, str]:
        lines = Path(f"/proc/{self.mount.pid}/status").read_text().splitlines()
        values = dict(line.split(":", 1) for line in lines)
        now, most = (int(values[name].split()[0]) * 1024 / _MB for name in ("VmRSS", "VmHWM"))
        return f"{now:.0f} MB", f"{most:.0f} MB"


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def requests_since(server: ServerProcess, seen: int) -> str:
    counts = Counter(str(request["op"]) for request in server.requests()[seen:])
    return ", ".join(f"{count} {op}" for op, count in sorted(counts.items())) or "0"


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def table(head: Row, rows: list[Row]) -> None:
    print()
    for cells in (head, ("---",) * len(head), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


SECTIONS: dict[str, Callable[[Path, Size], None]] = {"tree": tree, "stream": stream, "small": small, "bulk": bulk}


if __name__ == "__main__":
    main()
