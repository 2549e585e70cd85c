"""Several mounts of one account on one bucket: each writes files at the same time, then each reads all of them.

A proxy counts the requests to the bucket, and takes time itself; the service counts its own. `a file written` is a file
that one mount wrote; `a file read` is a file that one mount read which another had written.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from scripts.gauges import mount_of, timed
from scripts.peers import Link, Network, linked
from scripts.report import Report
from tests.mount.support import Mounted, eventually
from tests.objects.servers import BUCKET, SeaweedFS, environment, running, tool
from tests.server_process import ServerProcess, running_server

_MACHINES = (1, 2, 4, 8)
_FILE_BYTES = 16_384
_LOOPBACK = Network(0, 0)
# The others see new files and attributes by their polls. Here they poll as in use.
_POLLS = {"REMOTEFS_REFRESH_POLL_IN_USE_S": "6", "REMOTEFS_REFRESH_POLL_IDLE_S": "6"}
_PATIENCE_S = 600
Row = tuple[str, ...]


class Counts(Protocol):
    """How much is measured."""

    @property
    def machine_files(self) -> int:
        """Files that each mount writes."""
        ...


def machines(folder: Path, counts: Counts, report: Report) -> None:
    """Write and read by 1, 2, 4 and 8 mounts."""
    files = counts.machine_files
    report.say(f"## Mounts of one account on one bucket, {files:,} files of 16 KiB each")
    if tool("weed") is None:
        report.say("SeaweedFS is not installed.")
        return
    (folder / "weed").mkdir()
    server = SeaweedFS(folder / "weed")
    with running(server):
        rows = [_row(folder / str(mounts), server, mounts, files) for mounts in _MACHINES]
    report.table(
        ("mounts", "all written after", "files/s", "all read after", "files/s",
         "requests to the service a file written", "a file read", "to the bucket a file written", "a file read"),
        rows,
    )  # fmt: skip


def _row(folder: Path, server: SeaweedFS, mounts: int, files: int) -> Row:
    with (
        running_server(folder / "service", "--faithful", "--log-requests") as service,
        linked(_LOOPBACK, server.port, counted=True) as link,
        _mounted(folder, service, link, mounts) as places,
    ):
        source = folder / "source"
        source.mkdir()
        for number in range(files):
            (source / f"{number:05}").write_bytes(os.urandom(_FILE_BYTES))
        tally = _Tally(service, link)
        written = timed(lambda: _each(places, lambda place: _write(place, source)))
        settled = _ops(tally.since())
        bucket_writes = tally.bucket()
        _each(places, lambda place: eventually(lambda: _shown(place) == mounts * files, timeout=_PATIENCE_S))
        tally.since(), tally.bucket()
        read = timed(lambda: _each(places, _read_others))
        fetched, bucket_reads = _ops(tally.since()), tally.bucket()
    wrote, reads = mounts * files, mounts * (mounts - 1) * files
    per_read = ("-", "-", "-", "-") if not reads else (
        f"{read:.0f} s", f"{reads / read:.0f}", f"{fetched / reads:.2f}", f"{bucket_reads / reads:.2f}"
    )  # fmt: skip
    return (
        f"{mounts}", f"{written:.0f} s", f"{wrote / written:.0f}", *per_read[:2], f"{settled / wrote:.2f}", per_read[2],
        f"{bucket_writes / wrote:.2f}", per_read[3],
    )  # fmt: skip


@contextmanager
def _mounted(folder: Path, service: ServerProcess, link: Link, count: int) -> Iterator[list[Mounted]]:
    address = {"REMOTEFS_SHARED_STORE": f"s3://{BUCKET}/{count}"}
    with ExitStack() as ends:
        places = [
            mount_of(folder / f"machine{number}", service, **address, **environment(link.port), **_POLLS)
            for number in range(count)
        ]
        for place in places:
            place.started()
            ends.callback(place.end)
        yield places


def _each(places: list[Mounted], act: Callable[[Mounted], object]) -> None:
    with ThreadPoolExecutor(len(places)) as pool:
        list(pool.map(act, places))


def _write(place: Mounted, source: Path) -> None:
    subprocess.run(["cp", "-r", source, place.path / place.path.parent.name], check=True)
    end = time.monotonic() + _PATIENCE_S
    while place.status().pending or not _is_shared(place):
        assert time.monotonic() < end, "it was not shared in time"
        time.sleep(0.2)


def _is_shared(place: Mounted) -> bool:
    shared = place.status().shared
    return shared is not None and shared.waiting_files == 0


def _shown(place: Mounted) -> int:
    return sum(len(list(folder.iterdir())) for folder in place.path.iterdir() if folder.is_dir())


def _read_others(place: Mounted) -> None:
    own = place.path.parent.name
    others = [folder for folder in sorted(place.path.iterdir()) if folder.name != own]
    for folder in others:
        subprocess.run(["sh", "-c", "cat * > /dev/null"], cwd=folder, check=True)


def _ops(requests: list[dict[str, object]]) -> int:
    """The requests that are not listings: those come with the time."""
    return sum(count for op, count in Counter(str(one["op"]) for one in requests).items() if op != "list")


class _Tally:
    """Counts from one call to the next."""

    def __init__(self, service: ServerProcess, link: Link) -> None:
        self._service = service
        self._link = link
        self._seen = len(service.requests())
        self._bucket = self._total()

    def since(self) -> list[dict[str, object]]:
        """The requests to the service."""
        requests = self._service.requests()
        seen, self._seen = self._seen, len(requests)
        return requests[seen:]

    def bucket(self) -> int:
        """The number of requests to the bucket."""
        before, self._bucket = self._bucket, self._total()
        return self._bucket - before

    def _total(self) -> int:
        traffic = self._link.traffic()
        return 0 if traffic is None else traffic.requests
