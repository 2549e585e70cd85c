"""How each peer is mounted, and the way over which it reaches its server.

remotefs on its local server, rclone on `rclone serve webdav`, sshfs on OpenSSH's sftp-server without encryption. Each
`start` gets a folder of its own, so each mount is a fresh one. A peer that is not installed is left out.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts.gauges import mount_of
from tests.mount.support import detach, eventually, is_mounted
from tests.server_process import ServerProcess

REMOTEFS, RCLONE, RCLONE_FULL, SSHFS = "remotefs", "rclone mount", "rclone mount, cache mode full", "sshfs"
SFTP_SERVER = Path("/usr/lib/openssh/sftp-server")
# A link that only counts.
_BOUNDLESS_MB_PER_S = 1e6


@dataclass(frozen=True)
class Network:
    """A round trip in ms and 10^6 bytes a second for each connection; 0 and 0: loopback itself."""

    rtt_ms: float
    mb_per_s: float

    def __str__(self) -> str:
        return f"{self.rtt_ms:g} ms, {self.mb_per_s:g} MB/s a connection" if self.rtt_ms else "Loopback"


@dataclass(frozen=True)
class Traffic:
    """What went over a link so far: HTTP requests, bytes both ways."""

    requests: int
    moved_bytes: int


@dataclass
class Link:
    """The way to a server. `process` simulates it, and counts."""

    port: int
    process: subprocess.Popen[str] | None

    def traffic(self) -> Traffic | None:
        """None where nobody counts."""
        if self.process is None or self.process.stdin is None or self.process.stdout is None:
            return None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        counts = json.loads(self.process.stdout.readline())
        return Traffic(counts["requests"], counts["bytes_up"] + counts["bytes_down"])


@contextmanager
def linked(network: Network, port: int, *, counted: bool) -> Iterator[Link]:
    """A way to a port of loopback; straight where there is nothing to simulate or to count."""
    if not network.rtt_ms and not counted:
        yield Link(port, None)
        return
    script = Path(__file__).parent / "slow_link.py"
    mb_per_s = network.mb_per_s or _BOUNDLESS_MB_PER_S
    command = [sys.executable, script, "127.0.0.1", port, "--rtt-ms", network.rtt_ms, "--mb-per-s", mb_per_s]
    process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Link(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.wait()


@dataclass
class Place:
    """A mounted folder, the process that serves it, and the way from that to its server.

    `writes_through`: `close` returns when the server has the file. rclone with a cache has it later, and says so
    nowhere. `speaks_http`: its requests can be counted.
    """

    name: str
    path: Path
    pid: int
    link: Link
    writes_through: bool = True
    speaks_http: bool = True

    def kept(self, at_least: int) -> list[Path]:
        """The files of so many bytes that its process keeps of others; they lie beside what is mounted."""
        beside = [path for path in self.path.parent.iterdir() if path != self.path]
        files = [path for folder in beside for path in folder.rglob("*") if path.is_file()]
        return [path for path in files if path.stat().st_size >= at_least]


@dataclass
class Origin:
    """Where the files come from: the local server for remotefs, a folder with the same for the others."""

    server: ServerProcess
    folder: Path
    network: Network
    counted: bool


Start = Callable[[Path, Origin, ExitStack], Place]


def on_remotefs(folder: Path, origin: Origin, ends: ExitStack) -> Place:
    server = origin.server
    link = ends.enter_context(linked(origin.network, port_of(server), counted=origin.counted))
    way = ServerProcess(f"http://127.0.0.1:{link.port}", server.key, server.root, server.process)
    mount = mount_of(folder, way)
    mount.started()
    ends.callback(mount.end)
    return Place(REMOTEFS, mount.path, mount.pid, link)


def port_of(server: ServerProcess) -> int:
    return urlsplit(server.url).port or 80


def on_rclone(full: bool) -> Start:
    def start(folder: Path, origin: Origin, ends: ExitStack) -> Place:
        port = free_port()
        served = subprocess.Popen(
            ["rclone", "serve", "webdav", origin.folder, "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        ends.callback(end_process, served)
        eventually(lambda: is_listening(port))
        link = ends.enter_context(linked(origin.network, port, counted=origin.counted))
        url = f":webdav,url='http://127.0.0.1:{link.port}':"
        mode = ["--vfs-cache-mode", "full", "--cache-dir", folder / "cache"] if full else []
        options = ["--config", "/dev/null", "--dir-cache-time", "1h", *mode]
        pid = mounted_by(folder / "mnt", ["rclone", "mount", url, folder / "mnt", *options], ends)
        return Place(RCLONE_FULL if full else RCLONE, folder / "mnt", pid, link, writes_through=not full)

    return start


def on_sshfs(folder: Path, origin: Origin, ends: ExitStack) -> Place:
    listener = socket.create_server(("127.0.0.1", 0))
    ends.callback(listener.close)
    threading.Thread(target=serve_sftp, args=(listener,), daemon=True).start()
    link = ends.enter_context(linked(origin.network, listener.getsockname()[1], counted=origin.counted))
    options = ["-f", "-o", f"directport={link.port}"]
    pid = mounted_by(folder / "mnt", ["sshfs", *options, f"127.0.0.1:{origin.folder}", folder / "mnt"], ends)
    return Place(SSHFS, folder / "mnt", pid, link, speaks_http=False)


def serve_sftp(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        subprocess.Popen([SFTP_SERVER], stdin=connection.fileno(), stdout=connection.fileno())
        connection.close()


def mounted_by(path: Path, command: list[object], ends: ExitStack) -> int:
    """The pid of a command that mounts `path` and stays."""
    path.mkdir(parents=True)
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends.callback(end_process, process)
    ends.callback(detach, path)
    eventually(lambda: is_mounted(path))
    return process.pid


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


_ALL: dict[str, Start] = {
    REMOTEFS: on_remotefs,
    RCLONE: on_rclone(full=False),
    RCLONE_FULL: on_rclone(full=True),
    SSHFS: on_sshfs,
}


def installed() -> dict[str, Start]:
    """The peers that are there, by name."""
    there = {REMOTEFS}
    if shutil.which("rclone"):
        there |= {RCLONE, RCLONE_FULL}
    if shutil.which("sshfs") and SFTP_SERVER.exists():
        there.add(SSHFS)
    return {name: start for name, start in _ALL.items() if name in there}
