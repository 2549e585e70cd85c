"""Cold reads out of one bucket of SeaweedFS: by remotefs, `juicefs mount` and `rclone mount`.

The bytes are the same and the bucket is warm. Before each read a peer is mounted anew on an empty cache, as on a
machine that has never seen the files; the peers take turns, and who begins changes with each round. `weed` comes from
`scripts/store-tools.sh` or the PATH, and so does each peer; one that is not there is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from scripts.gauges import MB, cpu_s, mount_of, read, timed
from scripts.peers import Link, Network, linked, mounted_by
from scripts.report import Report
from tests.mount.support import eventually
from tests.objects.servers import BUCKET, SeaweedFS, environment, running, tool
from tests.server_process import ServerProcess, running_server

_LOOPBACK = Network(0, 0)
_SMALL_BYTES = 65_536
_READERS = 8
_ROUNDS = 5
_PREFIX = "remotefs"
# A mount is at rest when it used less than this part of a processor between two looks.
_LOOK_S, _AT_REST, _SETTLED_WITHIN_S = 0.5, 0.02, 30.0
REMOTEFS, JUICEFS, RCLONE = "remotefs", "juicefs mount", "rclone mount"
LARGE, ONE, MANY = "sequential, MB/s", "small files, one reader, files/s", "small files, eight readers, files/s"


class Counts(Protocol):
    """How much is measured."""

    @property
    def shared_mb(self) -> int:
        """MB of the large file."""
        ...

    @property
    def bulk_files(self) -> int:
        """Small files."""
        ...


@dataclass
class Place:
    """A mounted folder with the files, the process that serves it, and the way from it to the bucket."""

    path: Path
    pid: int
    link: Link


Start = Callable[[Path, ExitStack, bool], Place]


@dataclass
class Store:
    """The bucket of a server."""

    server: SeaweedFS

    def variables(self, port: int | None = None) -> Mapping[str, str]:
        """Return the variables of the bucket, at `port` of loopback."""
        return environment(port or self.server.port)

    @contextmanager
    def linked(self, *, counted: bool) -> Iterator[Link]:
        """The way to the bucket."""
        with linked(_LOOPBACK, self.server.port, counted=counted) as link:
            yield link


def shared(folder: Path, counts: Counts, report: Report) -> None:
    """Cold reads out of one bucket."""
    report.say(f"## Out of a bucket: {counts.shared_mb} MB, and {counts.bulk_files:,} files of 64 KiB")
    if tool("weed") is None:
        report.say("SeaweedFS is not installed.")
        return
    source = folder / "source"
    _make_source(source, counts)
    weed = folder / "weed"
    weed.mkdir()
    server = SeaweedFS(weed)
    with running(server), running_server(folder / "service", "--faithful", "--log-requests") as service:
        store = Store(server)
        peers = dict(_prepared(folder, source, store, service))
        rates, costs = _measured(folder, peers, counts)
        _tell(report, counts, rates, costs)


def _make_source(source: Path, counts: Counts) -> None:
    (source / "small").mkdir(parents=True)
    with (source / "large").open("wb") as file:
        for _ in range(counts.shared_mb):
            file.write(os.urandom(MB))
    for number in range(counts.bulk_files):
        (source / "small" / f"{number:05}").write_bytes(os.urandom(_SMALL_BYTES))


# -- the peers


def _prepared(folder: Path, source: Path, store: Store, service: ServerProcess) -> Iterator[tuple[str, Start]]:
    """Put the files into the bucket in the way of each peer; how each is mounted."""
    yield REMOTEFS, _remotefs(folder, source, store, service)
    if (juicefs := tool("juicefs")) is not None:
        yield JUICEFS, _juicefs(folder, source, store, juicefs)
    if (rclone := tool("rclone")) is not None:
        yield RCLONE, _rclone(source, store, rclone)


def _remotefs(folder: Path, source: Path, store: Store, service: ServerProcess) -> Start:
    address = {"REMOTEFS_SHARED_STORE": f"s3://{BUCKET}/{_PREFIX}"}
    writer = mount_of(folder / "writer", service, durability="local", **address, **store.variables())
    writer.started()
    try:
        subprocess.run(["cp", "-r", f"{source}/.", writer.path], check=True)
        writer.flush()
    finally:
        writer.end()

    def start(place: Path, ends: ExitStack, counted: bool) -> Place:
        link = ends.enter_context(store.linked(counted=counted))
        mount = mount_of(place, service, **address, **store.variables(link.port))
        mount.started()
        ends.callback(mount.end)
        eventually((mount.path / "large").exists)
        return Place(mount.path, mount.pid, link)

    return start


def _juicefs(folder: Path, source: Path, store: Store, program: str) -> Start:
    database = f"sqlite3://{folder / 'juicefs.db'}"
    variables = store.variables()
    os.environ["AWS_REGION"] = variables["AWS_REGION"]
    # With the bucket in the address of each mount, what is measured can go over a link.
    subprocess.run(
        [program, "format", "--storage", "s3", "--bucket", _address(store.server.port),
         "--access-key", variables["AWS_ACCESS_KEY_ID"], "--secret-key", variables["AWS_SECRET_ACCESS_KEY"],
         "--trash-days", "0", database, "juicefs"],
        check=True, capture_output=True,
    )  # fmt: skip

    def start(place: Path, ends: ExitStack, counted: bool) -> Place:
        link = ends.enter_context(store.linked(counted=counted))
        mount = place / "mnt"
        options = ["--cache-dir", place / "cache", "--no-usage-report", "--backup-meta", "0",
                   "--bucket", _address(link.port), "--log", place / "log"]  # fmt: skip
        return Place(mount, mounted_by(mount, [program, "mount", *options, database, mount], ends), link)

    with ExitStack() as ends:
        place = start(folder / "juicefs-writer", ends, False)
        subprocess.run(["cp", "-r", f"{source}/.", place.path], check=True)
    return start


def _rclone(source: Path, store: Store, program: str) -> Start:
    def remote(port: int) -> str:
        variables = store.variables(port)
        return (
            f":s3,provider=SeaweedFS,endpoint='http://127.0.0.1:{port}'"
            f",access_key_id={variables['AWS_ACCESS_KEY_ID']},secret_access_key={variables['AWS_SECRET_ACCESS_KEY']}"
            f":{BUCKET}/rclone"
        )

    def start(place: Path, ends: ExitStack, counted: bool) -> Place:
        link = ends.enter_context(store.linked(counted=counted))
        mount = place / "mnt"
        options = ["--config", "/dev/null", "--dir-cache-time", "1h"]
        return Place(mount, mounted_by(mount, [program, "mount", remote(link.port), mount, *options], ends), link)

    copy = [program, "copy", "--config", "/dev/null", source, remote(store.server.port)]
    subprocess.run(list(map(str, copy)), check=True, capture_output=True)
    return start


def _address(port: int) -> str:
    return f"http://127.0.0.1:{port}/{BUCKET}"


# -- measuring


@dataclass(frozen=True)
class Cost:
    """What a work costs once: the time, the CPU time of the mount, and requests to the bucket if they are counted."""

    seconds: float
    cpu_s: float
    requests: int | None


def _works(counts: Counts) -> dict[str, tuple[float, Callable[[Path], None]]]:
    """How much each work reads, in the unit of its rate, and the work."""
    return {
        LARGE: (counts.shared_mb, lambda path: read(path / "large")),
        ONE: (counts.bulk_files, lambda path: _read_all(path / "small", 1)),
        MANY: (counts.bulk_files, lambda path: _read_all(path / "small", _READERS)),
    }


def _read_all(folder: Path, readers: int) -> None:
    names = sorted(path.name for path in folder.iterdir())
    running = [
        subprocess.Popen(["xargs", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder, text=True)
        for _ in range(readers)
    ]
    for number, process in enumerate(running):
        assert process.stdin is not None
        # Neighbours: each reader has a part of the folder.
        process.stdin.write("\n".join(names[number * len(names) // readers : (number + 1) * len(names) // readers]))
        process.stdin.close()
    assert [process.wait() for process in running] == [0] * readers


Rates = dict[str, dict[str, list[Cost]]]


def _measured(folder: Path, peers: Mapping[str, Start], counts: Counts) -> tuple[Rates, dict[str, dict[str, Cost]]]:
    works, names = _works(counts), list(peers)
    timed_costs: Rates = {name: {work: [] for work in works} for name in names}
    for work, (_, act) in works.items():
        for number in range(_ROUNDS):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                timed_costs[name][work].append(_once(folder / "round", peers[name], act, counted=False))
    counted = {
        name: {work: _once(folder / "round", peers[name], act, counted=True) for work, (_, act) in works.items()}
        for name in names
    }
    return timed_costs, counted


def _once(folder: Path, start: Start, act: Callable[[Path], None], *, counted: bool) -> Cost:
    with ExitStack() as ends:
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        place = start(folder, ends, counted)
        _settle(place.pid)
        before, cpu = _requests(place.link), _cpu_s(place.pid)
        took = timed(lambda: act(place.path))
        used, after = _cpu_s(place.pid) - cpu, _requests(place.link)
        return Cost(took, used, None if before is None or after is None else after - before)


def _settle(pid: int) -> None:
    """Wait until a mount that has just begun is at rest: how long it takes to join is not measured."""
    end = time.monotonic() + _SETTLED_WITHIN_S
    used = _cpu_s(pid)
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        if (now := _cpu_s(pid)) - used < _AT_REST * _LOOK_S:
            return
        used = now


def _cpu_s(pid: int) -> float:
    """Of a process and its children: juicefs mounts in one."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(cpu_s(each) for each in [pid, *map(int, children)])


def _requests(link: Link) -> int | None:
    traffic = link.traffic()
    return None if traffic is None else traffic.requests


def _tell(report: Report, counts: Counts, found: Rates, counted: dict[str, dict[str, Cost]]) -> None:
    works = _works(counts)
    report.say(f"Medians of {_ROUNDS} rounds, the peers in turn; in brackets the CPU seconds of the mount:")
    report.table(
        ("", *found), [(work, *(_cell(size, found[name][work]) for name in found)) for work, (size, _) in works.items()]
    )
    report.say("Requests to the bucket, each work once more, over a proxy that counts:")
    report.table(("", *found), [(work, *(str(counted[name][work].requests) for name in found)) for work in works])


def _cell(size: float, costs: list[Cost]) -> str:
    return f"{size / median(cost.seconds for cost in costs):.0f} ({median(cost.cpu_s for cost in costs):.2f})"
