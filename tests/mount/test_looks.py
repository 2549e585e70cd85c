"""A look at the beginning of a file, on the kernel: what it costs, and that nobody notices it afterwards (R8)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.content import paged
from tests.faults import FaultyServer
from tests.mount.conftest import MakeMount
from tests.mount.support import Mounted, eventually

SLOW_LINK = Path(__file__).parents[2] / "scripts" / "slow_link.py"
KIB, MIB = 1 << 10, 1 << 20
LOOK_BYTES = 256 * KIB
LARGE = paged(48 * MIB, seed=23)
# Heads of requests and replies, listings.
OVERHEAD_BYTES = 64 * KIB


class Line:
    """A network before a server, which counts what goes over it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.port = int(self._ask(""))

    @property
    def bytes_down(self) -> int:
        """Bytes that came from the server so far."""
        return int(json.loads(self._ask("\n"))["bytes_down"])

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        return self._process.stdout.readline()


@contextmanager
def slow_line(server: FaultyServer) -> Iterator[Line]:
    """30 ms, and 40 MB/s for each connection."""
    port = urlsplit(server.url).port
    command = [sys.executable, SLOW_LINK, "127.0.0.1", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Line(process)
        finally:
            process.kill()


def over(server: FaultyServer, line: Line) -> FaultyServer:
    return FaultyServer(f"http://127.0.0.1:{line.port}", server.store, server.script)


def head(path: Path) -> None:
    """What a file browser or a shell does."""
    done = subprocess.run(["head", "-c", "4096", path], stdout=subprocess.PIPE, check=True)
    assert done.stdout == LARGE[:4096]


def ranges_of(server: FaultyServer, mount: Mounted, name: str) -> list[str]:
    file_id = mount.xattr(name, "id")
    return [
        request.headers.get("range", "")
        for request in server.script.requests("content")
        if request.path.split("/")[-2] == file_id
    ]


# An ordinary user's kernel reads 128 KiB ahead.
@pytest.mark.parametrize("readahead", [128 * KIB, MIB])
def test_a_look_costs_one_request_and_256_kib(server: FaultyServer, make_mount: MakeMount, readahead: int) -> None:
    server.store.add_generated("large", LARGE)
    server.store.add_generated("small", LARGE[:LOOK_BYTES])
    settings = {
        "REMOTEFS_MOUNT_KERNEL_READAHEAD_BYTES": str(readahead),
        # Nothing else goes over the line.
        "REMOTEFS_REFRESH_POLL_IN_USE_S": "3600",
        "REMOTEFS_REFRESH_POLL_IDLE_S": "3600",
    }
    with slow_line(server) as line:
        mount = make_mount(of=over(server, line), settings=settings)
        before = line.bytes_down
        head(mount.path / "large")
        assert line.bytes_down - before <= LOOK_BYTES + OVERHEAD_BYTES
        head(mount.path / "large")
        assert ranges_of(server, mount, "large") == ["bytes=0-262143"]
        head(mount.path / "small")
        eventually(lambda: mount.status().content.evictable_bytes == 2 * LOOK_BYTES)
        assert (mount.path / "small").read_bytes() == LARGE[:LOOK_BYTES]
        assert server.script.count("content") == 2
        assert line.bytes_down - before <= 2 * LOOK_BYTES + OVERHEAD_BYTES
        mount.end()


@pytest.mark.long
def test_after_looks_at_three_large_files_a_fourth_comes_by_several_streams(
    server: FaultyServer, make_mount: MakeMount
) -> None:
    for name in "abcd":
        server.store.add_generated(name, LARGE)
    with slow_line(server) as line:
        mount = make_mount(of=over(server, line))
        for name in "abc":
            head(mount.path / name)
        # And one that stands still: a film that was stopped.
        with (mount.path / "c").open("rb", buffering=0) as film:
            film.read(2 * MIB)
            assert (mount.path / "d").read_bytes() == LARGE
        assert len(ranges_of(server, mount, "d")) > 2, "others were tried beside the first"
        mount.end()


def test_a_file_that_is_read_through_costs_one_request(server: FaultyServer, mount: Mounted) -> None:
    for name, size in {"small": 1000, "middle": MIB, "large": 14 * MIB}.items():
        server.store.add_generated(name, LARGE[:size])
        path = mount.path / name
        eventually(path.exists)
        before = server.script.count("content")
        assert subprocess.run(["cat", path], stdout=subprocess.PIPE, check=True).stdout == LARGE[:size]
        assert server.script.count("content") - before == 1


def test_looks_at_pictures_cost_a_look_and_pictures_read_through_one_request(
    server: FaultyServer, mount: Mounted
) -> None:
    """Their length is verified when they are opened; by then the mount knows from the last one what to expect."""
    names = [f"{number}.png" for number in range(6)]
    for name in names:
        server.store.add_generated(name, LARGE[: 2 * MIB], mime_type="image/png")
    eventually((mount.path / names[-1]).exists)
    for name in names[:2]:
        assert (mount.path / name).read_bytes() == LARGE[: 2 * MIB]
        assert len(ranges_of(server, mount, name)) == 1
    for name in names[2:]:
        head(mount.path / name)
    for name in names[3:]:
        assert ranges_of(server, mount, name) == ["bytes=0-262143"]
