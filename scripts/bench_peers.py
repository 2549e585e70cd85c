"""Measure beside peers: `python scripts/bench_peers.py [--quick] [--networks 0:0,30:40] [--root DIR]`.

The same bytes in the same run, over loopback and over a simulated network (`slow_link.py`) of so many milliseconds of
round trip and so many 10^6 bytes a second for each connection: remotefs on its local server, rclone on `rclone serve
webdav`, sshfs on OpenSSH's sftp-server without encryption, and plain curl on the local server. Peers that are not
installed are left out. Figures are medians. Each cold figure is of a file that was never read before; "warm" is after
the kernel's pages of the mount were dropped. CPU is that of the process that serves the mount; bytes and requests are
counted on the link, requests of HTTP only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.bench import _MB, cpu_s, load, machine, mount_of, post, read, table, timed
from tests.mount.support import detach, eventually, is_mounted
from tests.server_process import ServerProcess, running_server

_SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
_BLOCK = 4096


@dataclass(frozen=True)
class Size:
    """How much is measured, and how often."""

    rounds: int
    large_mb: int
    stream_mb: int
    small_files: int
    small_bytes: int = 16 * 1024


FULL = Size(rounds=5, large_mb=256, stream_mb=64, small_files=1000)
QUICK = Size(rounds=3, large_mb=96, stream_mb=24, small_files=150)


@dataclass(frozen=True)
class Network:
    """A round trip in ms and 10^6 bytes a second for each connection; 0 and 0: loopback itself."""

    rtt_ms: float
    mb_per_s: float

    def __str__(self) -> str:
        return f"{self.rtt_ms:g} ms, {self.mb_per_s:g} MB/s a connection" if self.rtt_ms else "loopback"


@dataclass
class Link:
    """The way to a server, and what went over it."""

    port: int
    process: subprocess.Popen[str] | None

    def traffic(self) -> dict[str, int]:
        if self.process is None or self.process.stdin is None or self.process.stdout is None:
            return {"requests": 0, "bytes_down": 0}
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counts: dict[str, int] = json.loads(self.process.stdout.readline())
        return counts


@dataclass
class Place:
    """A mounted folder, who serves it, and the figures so far."""

    name: str
    path: Path
    pid: int
    link: Link
    figures: dict[str, str] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, three rounds instead of five")
    parser.add_argument("--networks", default="0:0,30:40", help="RTT_MS:MB_PER_S, several; default: %(default)s")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk to measure on")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    table(("machine", ""), machine())
    size = QUICK if given.quick else FULL
    print(f"\nMedians of {size.rounds}; a large file has {size.large_mb} MB.")
    for words in given.networks.split(","):
        rtt_ms, mb_per_s = map(float, words.split(":"))
        with tempfile.TemporaryDirectory(dir=given.root and given.root.resolve()) as folder:
            compare(Path(folder), Network(rtt_ms, mb_per_s), size)
    print(f"\nLoad at the end: {load()}")


def compare(folder: Path, network: Network, size: Size) -> None:
    """One table: a column a peer."""
    print(f"\n### {network}")
    source = folder / "source"
    make_source(source, size)
    columns: list[dict[str, str]] = []
    names: list[str] = []
    with running_server(folder / "server") as server:
        upload_all(server, source)
        columns.append(by_curl(folder, server, network, size))
        names.append("curl, no mount")
        for name, start in PEERS.items():
            with ExitStack() as ends:
                place = start(folder / name.replace(" ", "-"), server, source, network, ends)
                if place is not None:
                    measure(place, size)
                    columns.append(place.figures)
                    names.append(name)
    rows = [(words, *(column.get(words, "-") for column in columns)) for words in columns[-1] | columns[0]]
    table(("", *names), sorted(rows, key=lambda row: ORDER.index(row[0])))


def make_source(source: Path, size: Size) -> None:
    """What is read: files of noise, for something on the way may compress."""
    (source / "small").mkdir(parents=True)
    noise = os.urandom(size.large_mb * _MB)
    for number in range(size.rounds):
        (source / f"large{number}").write_bytes(noise)
        (source / f"seek{number}").write_bytes(noise)
        for stream in range(4):
            (source / f"stream{number}-{stream}").write_bytes(noise[: size.stream_mb * _MB // 4])
    for number in range(size.small_files):
        (source / "small" / f"{number:05}").write_bytes(noise[number : number + size.small_bytes])


def upload_all(server: ServerProcess, source: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            post(server, str(path.relative_to(source)).replace("/", "\uff0f"), path)


# -- peers


@contextmanager
def linked(network: Network, port: int) -> Iterator[Link]:
    if not network.rtt_ms:
        yield Link(port, None)
        return
    script = Path(__file__).parent / "slow_link.py"
    command = [sys.executable, script, "127.0.0.1", port, "--rtt-ms", network.rtt_ms, "--mb-per-s", network.mb_per_s]
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Link(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.wait()


def on_remotefs(folder: Path, server: ServerProcess, source: Path, network: Network, ends: ExitStack) -> Place | None:
    del source
    link = ends.enter_context(linked(network, urlsplit(server.url).port or 80))
    way = ServerProcess(f"http://127.0.0.1:{link.port}", server.key, server.root, server.process)
    mount = mount_of(folder, way)
    mount.started()
    ends.callback(mount.end)
    return Place("remotefs", mount.path, mount.pid, link)


def on_rclone(full: bool) -> Callable[[Path, ServerProcess, Path, Network, ExitStack], Place | None]:
    def start(folder: Path, server: ServerProcess, source: Path, network: Network, ends: ExitStack) -> Place | None:
        del server
        if shutil.which("rclone") is None:
            return None
        port = free_port()
        served = subprocess.Popen(
            ["rclone", "serve", "webdav", source, "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends.callback(end_process, served)
        eventually(lambda: is_listening(port))
        link = ends.enter_context(linked(network, port))
        url = f":webdav,url='http://127.0.0.1:{link.port}':"
        mode = ["--vfs-cache-mode", "full", "--cache-dir", folder / "cache"] if full else []
        options = ["--config", "/dev/null", "--dir-cache-time", "1h", *mode]
        return mounted_by(folder, ["rclone", "mount", url, folder / "mnt", *options], "rclone", link, ends)

    return start


def on_sshfs(folder: Path, server: ServerProcess, source: Path, network: Network, ends: ExitStack) -> Place | None:
    del server
    if shutil.which("sshfs") is None or not _SFTP_SERVER.exists():
        return None
    listener = socket.create_server(("127.0.0.1", 0))
    ends.callback(listener.close)
    threading.Thread(target=serve_sftp, args=(listener,), daemon=True).start()
    link = ends.enter_context(linked(network, listener.getsockname()[1]))
    options = ["-f", "-o", f"directport={link.port}"]
    return mounted_by(folder, ["sshfs", *options, f"127.0.0.1:{source}", folder / "mnt"], "sshfs", link, ends)


def serve_sftp(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subprocess.Popen([_SFTP_SERVER], stdin=connection.fileno(), stdout=connection.fileno())
        connection.close()


def mounted_by(folder: Path, command: list[object], name: str, link: Link, ends: ExitStack) -> Place:
    path = folder / "mnt"
    path.mkdir(parents=True)
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends.callback(end_process, process)
    ends.callback(detach, path)
    eventually(lambda: is_mounted(path))
    return Place(name, path, process.pid, link)


PEERS: dict[str, Callable[[Path, ServerProcess, Path, Network, ExitStack], Place | None]] = {
    "remotefs": on_remotefs,
    "rclone mount": on_rclone(full=False),
    "rclone mount, cache mode full": on_rclone(full=True),
    "sshfs": on_sshfs,
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


# -- what is measured

COLD, WARM, CACHED = "cold, MB/s", "warm from the daemon, MB/s", "warm from the page cache, MB/s"
CPU_COLD, CPU_WARM = "CPU s per GB, cold", "CPU s per GB, warm"
PER_FILE = "requests and MB moved for a cold file"
FIRST, SEEK = "first 4 KiB, ms", "seek to the middle, ms"
FOUR = "four streams, MB/s"
SMALL, AGAIN = "small files by `cat *`, s", "the same again, s"
SMALL_REQUESTS = "requests for them"
LARGE_WRITE, SMALL_WRITE = "write a large file until it is there, MB/s", "write 50 small files, s"
MEMORY = "resident at most"
EIGHT = "eight ranges at once, MB/s"
ORDER = [COLD, EIGHT, CPU_COLD, PER_FILE, WARM, CPU_WARM, CACHED, FIRST, SEEK, FOUR, SMALL, SMALL_REQUESTS, AGAIN,
         LARGE_WRITE, SMALL_WRITE, MEMORY]  # fmt: skip


def measure(place: Place, size: Size) -> None:
    """Fill in the figures of a mount."""
    listing(place.path)
    measure_large(place, size)
    measure_waits(place, size)
    measure_small(place, size)
    measure_writes(place, size)
    status = Path(f"/proc/{place.pid}/status").read_text()
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    place.figures[MEMORY] = f"{peak_kib * 1024 / _MB:.0f} MB"


def listing(path: Path) -> None:
    for entry in path.iterdir():
        entry.stat()


def measure_large(place: Place, size: Size) -> None:
    times: dict[str, list[float]] = {COLD: [], WARM: [], CACHED: []}
    cpu: dict[str, list[float]] = {CPU_COLD: [], CPU_WARM: []}
    before = after = place.link.traffic()
    for number in range(size.rounds):
        path = place.path / f"large{number}"
        with noted(cpu[CPU_COLD], place.pid):
            times[COLD].append(timed(partial(read, path)))
        times[CACHED].append(timed(partial(read, path)))
        if number == 0:
            after = place.link.traffic()
        forget_pages(path)
        with noted(cpu[CPU_WARM], place.pid):
            times[WARM].append(timed(partial(read, path)))
    for words, values in times.items():
        place.figures[words] = f"{size.large_mb / statistics.median(values):.0f}"
    for words, values in cpu.items():
        place.figures[words] = f"{statistics.median(values) / size.large_mb * 1000:.1f}"
    if place.link.process is not None:
        requests, moved = (after[name] - before[name] for name in ("requests", "bytes_down"))
        place.figures[PER_FILE] = f"{requests or '-'}, {moved / _MB:.0f}"


@contextmanager
def noted(values: list[float], pid: int) -> Iterator[None]:
    before = cpu_s(pid)
    yield
    values.append(cpu_s(pid) - before)


def measure_waits(place: Place, size: Size) -> None:
    first, middle, four = [], [], []
    for number in range(size.rounds):
        with (place.path / f"seek{number}").open("rb", buffering=0) as file:
            first.append(timed(partial(os.pread, file.fileno(), _BLOCK, 0)))
            middle.append(timed(partial(os.pread, file.fileno(), _BLOCK, size.large_mb * _MB // 2)))
        streams = [place.path / f"stream{number}-{n}" for n in range(4)]
        four.append(timed(partial(read_at_once, streams)))
    place.figures[FIRST] = f"{statistics.median(first) * 1000:.0f}"
    place.figures[SEEK] = f"{statistics.median(middle) * 1000:.0f}"
    place.figures[FOUR] = f"{size.stream_mb / statistics.median(four):.0f}"


def read_at_once(paths: list[Path]) -> None:
    readers = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL) for path in paths]
    assert [reader.wait() for reader in readers] == [0] * len(paths)


def measure_small(place: Place, size: Size) -> None:
    before = place.link.traffic()
    place.figures[SMALL] = f"{timed(lambda: cat_all(place.path / 'small', size)):.2f}"
    if requests := place.link.traffic()["requests"] - before["requests"]:
        place.figures[SMALL_REQUESTS] = str(requests)
    place.figures[AGAIN] = f"{timed(lambda: cat_all(place.path / 'small', size)):.2f}"


def cat_all(folder: Path, size: Size) -> None:
    done = subprocess.run("cat * | wc -c", shell=True, cwd=folder, capture_output=True, check=True)
    assert int(done.stdout) == size.small_files * size.small_bytes


def measure_writes(place: Place, size: Size) -> None:
    """`close` returns when the server has the file; rclone with a cache has it later, and says so nowhere."""
    if "full" in str(place.path):
        return
    noise = os.urandom(size.stream_mb * _MB)
    took = timed(lambda: (place.path / "written").write_bytes(noise))
    place.figures[LARGE_WRITE] = f"{size.stream_mb / took:.0f}"
    place.figures[SMALL_WRITE] = f"{timed(lambda: write_small(place.path)):.2f}"


def write_small(path: Path) -> None:
    for number in range(50):
        (path / f"new{number}").write_bytes(b"1" * 1000)


def forget_pages(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def by_curl(folder: Path, server: ServerProcess, network: Network, size: Size) -> dict[str, str]:
    """What the network and the server give without any file system."""
    headers = folder / "headers"
    headers.write_text(f"x-api-key: {server.key}\n")
    with linked(network, urlsplit(server.url).port or 80) as link:
        files = httpx.get(f"{server.url}/v1/files?limit=1000", headers=server.headers).json()["data"]
        file_id = next(file["id"] for file in files if file["filename"] == "large0")
        url = f"http://127.0.0.1:{link.port}/v1/files/{file_id}/content"
        one, eight = [], []
        for _ in range(size.rounds):
            one.append(timed(partial(curl, url, headers, [""])))
            step = size.large_mb * _MB // 8
            ranges = [f"{n * step}-{(n + 1) * step - 1}" for n in range(8)]
            eight.append(timed(partial(curl, url, headers, ranges)))
    return {
        COLD: f"{size.large_mb / statistics.median(one):.0f}",
        EIGHT: f"{size.large_mb / statistics.median(eight):.0f}",
    }


def curl(url: str, headers: Path, ranges: list[str]) -> None:
    command = ["curl", "-sf", "-o", "/dev/null", "-H", f"@{headers}", url]
    running = [subprocess.Popen([*command, *(["-r", part] if part else [])]) for part in ranges]
    assert [process.wait() for process in running] == [0] * len(ranges)


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"It took {time.perf_counter() - began:.0f} s.")
