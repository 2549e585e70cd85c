"""Measure a mount and its peers: `python scripts/bench.py [--quick] [--only tree,stream,…] [--to FILE]`.

Prints tables in Markdown, and writes them to FILE. MB are 10^6 bytes; "CPU" is the user and system time of
the process that serves the mount, which a busy machine changes less than the time on the clock. Everything runs against
a local server on loopback. What is written lies in a folder of --root; it should be on the disk that matters.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.beside import beside
from scripts.gauges import MB, MIB, cpu_s, forget_pages, mount_of, post, read, resident_bytes, seed, timed, write
from scripts.report import Report, reporting
from scripts.shared_machines import machines
from scripts.shared_store import shared
from scripts.tree_peers import PEERS, Place, Tree, is_there
from tests.faults import Hold, faulty_server
from tests.mount.support import Mounted, eventually, is_mounted
from tests.server_process import ServerProcess, running_server

_WRITERS = 8
_HANGING = 14
_DURABILITIES = ("remote", "strict", "local")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    tree: Tree
    stream_mb: int
    small_files: int
    bulk_files: int
    listed: int = 100_000
    renamed: int = 20_000
    pending: int = 10_000
    shared_mb: int = 256
    machine_files: int = 250


FULL = Size(Tree(folders=2000, files=100_000), stream_mb=450, small_files=300, bulk_files=1000)
QUICK = Size(
    Tree(folders=200, files=10_000),
    stream_mb=50,
    small_files=60,
    bulk_files=160,
    listed=10_000,
    renamed=2000,
    pending=1000,
    shared_mb=64,
    machine_files=40,
)

Row = tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of: %(default)s")
    parser.add_argument("--to", type=Path, default=None, help="the file to write the tables to")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk to measure on")
    given = parser.parse_args()
    # A process that may not keep its compiled modules compiles them at each start: that is not what is measured.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    size = QUICK if given.quick else FULL
    with reporting(given.to, "A mount by itself", "`scripts/bench.py`") as report:
        for name in given.only.split(","):
            with tempfile.TemporaryDirectory(dir=given.root) as folder:
                SECTIONS[name](Path(folder), size, report)


# -- a tree of many files


def tree(folder: Path, size: Size, report: Report) -> None:
    """Listings and walks of a large known tree, and the same walks on other file systems."""
    report.say(f"## {size.tree.files:,} files in {size.tree.folders:,} folders")
    with running_server(folder / "server", "--log-requests") as server:
        seed(server.root, [f"dir{n % size.tree.folders:04}／file-{n}.txt" for n in range(size.tree.files)])
        rows, walks = known_tree(folder, server, size)
        report.table(("remotefs", "time", "CPU", "requests", "resident now", "at most"), rows)
    walks += [walked(name, make(folder, size.tree), size.tree) for name, make in PEERS.items() if is_there(name)]
    report.table(("right after mounting", *WALKS), walks)


def known_tree(folder: Path, server: ServerProcess, size: Size) -> tuple[list[Row], list[Row]]:
    mount = mount_of(folder, server)
    gauge = Gauge(server, mount)
    rows = [gauge.row("first mount: the whole listing", mount.started)]
    mount.end()
    rows.append(gauge.row("mount with a known tree, to the first `ls`", lambda: (mount.started(), listed(mount.path))))
    # The mount catches up once with what others did meanwhile: that is not what the walks ask.
    eventually(lambda: mount.status().last_poll_at is not None)
    try:
        rows += [gauge.row(words, lambda walk=walk: walk(mount.path, size.tree)) for words, walk in WALKS.items()]
    finally:
        mount.end()
    return rows, [("remotefs", *(f"{took}, CPU {cpu}" for _, took, cpu, *_ in rows[-len(WALKS) :]))]


def walked(name: str, places: Iterator[Place], size: Tree) -> Row:
    with contextmanager(lambda: places)() as place:
        return (name, *(walk_cost(place, lambda walk=walk: walk(place.path, size)) for walk in WALKS.values()))


def walk_cost(place: Place, walk: Callable[[], None]) -> str:
    before = cpu_s(place.pid) if place.pid else 0.0
    took = seconds(timed(walk))
    return f"{took}, CPU {seconds(cpu_s(place.pid) - before)}" if place.pid else took


def find(path: Path, size: Tree) -> None:
    lines = output_lines("find", path, "-printf", "%s %p\\n")
    assert lines == 1 + size.folders + size.files, lines


def ls(path: Path, size: Tree) -> None:
    assert output_lines("ls", "-lR", path) > size.folders + size.files


WALKS: dict[str, Callable[[Path, Tree], None]] = {
    "`find -printf` of all": find,
    "the same again": find,
    "`ls -lR`": ls,
}


def listed(path: Path) -> None:
    assert output_lines("ls", path)


def output_lines(*command: object) -> int:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout.count(b"\n")


# -- one large file


def stream(folder: Path, size: Size, report: Report) -> None:
    """A large file in and out."""
    report.say(f"## A file of {size.stream_mb} MB")
    block = os.urandom(MIB)
    blocks = size.stream_mb * MB // MIB
    plain = folder / "plain"
    rows = [
        ("the disk alone, with fsync", f"{blocks * MIB / MB / timed(lambda: write(plain, block, blocks)):.0f}", *"--")
    ]
    with running_server(folder / "server", "--log-requests") as server:
        post(server, "cold.bin", plain)
        mount = mount_of(folder, server)
        mount.started()
        gauge = Gauge(server, mount)
        rate = lambda words, act: gauge.rate(words, act, blocks * MIB)  # noqa: E731 - a row each, in one line each
        try:
            rows.append(rate("write and close, with the upload", lambda: write(mount.path / "new.bin", block, blocks)))
            rows.append(rate("read it", lambda: read(mount.path / "new.bin")))
            rows.append(rate("read a file that is not here yet", lambda: read(mount.path / "cold.bin")))
            rows.append(rate("read it again, from the kernel's cache", lambda: read(mount.path / "cold.bin")))
            mount.remount()
            rows.append(rate("read it after a remount, from our disk", lambda: read(mount.path / "cold.bin")))
        finally:
            mount.end()
    report.table(("", "MB/s", "requests", "resident at most"), rows)


# -- many small files


def small(folder: Path, size: Size, report: Report) -> None:
    """Create, write 1,000 bytes, close, one after another; and until the service has them all."""
    report.say(f"## {size.small_files} files of 1,000 bytes, one after another")
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
    report.table(("durability", "create and close", "all", "then until all are uploaded", "requests"), rows)


def write_small(path: Path, count: int) -> None:
    for n in range(count):
        (path / f"{n}.bin").write_bytes(n.to_bytes(4, "little") * 250)


# -- many files at once


def bulk(folder: Path, size: Size, report: Report) -> None:
    """`cp -a` of files of 64 KiB, by one and by eight writers, and until the service has them all."""
    report.say(f"## `cp -a` of {size.bulk_files:,} files of 64 KiB")
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
    report.table(
        ("durability", "writers", "copied in", "files/s", "all uploaded after", "files/s", "CPU", "a file"), rows
    )


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


# -- a service that does not answer


def hanging(folder: Path, size: Size, report: Report) -> None:
    """A read of what is here, its pages dropped each time, while nothing else happens and while cold reads hang."""
    report.say(f"## 100 kB of what is here, while {_HANGING} cold reads hang")
    content = os.urandom(size.stream_mb * MB // 10)
    with faulty_server(folder / "server") as server:
        for number in range(1 + _HANGING):
            server.store.add_generated(f"{number}", content)
        mount = mount_of(folder, server)
        mount.started()
        here, *cold = (mount.path / f"{number}" for number in range(1 + _HANGING))
        try:
            read(here)
            rows = [latency_row("nothing else is read", here)]
            held = server.script.add(Hold(), op="content", times=None)
            readers = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL) for path in cold]
            eventually(lambda: held.hits >= _HANGING)
            rows.append(latency_row(f"{_HANGING} reads hang", here))
            assert all(reader.poll() is None for reader in readers), "they do not hang"
            held.release()
            assert [reader.wait() for reader in readers] == [0] * _HANGING
        finally:
            server.script.clear()
            mount.end()
    report.table(("", "median", "95 %", "longest"), rows)


def latency_row(words: str, path: Path) -> Row:
    parts = path.stat().st_size // 100_000
    times = sorted(read_part(path, number % parts) for number in range(200))
    return (words, *(f"{times[index] * 1000:.1f} ms" for index in (100, 190, -1)))


def read_part(path: Path, number: int) -> float:
    forget_pages(path)
    with path.open("rb", buffering=0) as file:
        return timed(lambda: os.pread(file.fileno(), 100_000, number * 100_000))


# -- measuring


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
        return (words, f"{size_bytes / MB / took:.0f}", requests_since(self.server, requests), self._memory()[1])

    def _cpu_s(self) -> float:
        """0 while nothing is mounted."""
        return cpu_s(self.mount.pid) if is_mounted(self.mount.path) else 0.0

    def _memory(self) -> tuple[str, str]:
        now, most = (f"{size / MB:.0f} MB" for size in resident_bytes(self.mount.pid))
        return now, most


def requests_since(server: ServerProcess, seen: int) -> str:
    counts = Counter(str(request["op"]) for request in server.requests()[seen:])
    return ", ".join(f"{count} {op}" for op, count in sorted(counts.items())) or "0"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


SECTIONS: dict[str, Callable[[Path, Size, Report], None]] = {
    "tree": tree,
    "stream": stream,
    "small": small,
    "bulk": bulk,
    "hanging": hanging,
    "beside": beside,
    "shared": shared,
    "machines": machines,
}


if __name__ == "__main__":
    main()
