"""What a soak reads of a mount every few seconds, and whether it stays level."""

from __future__ import annotations

import csv
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from remotefs.control.messages.status import Status
from remotefs.errors import RemotefsError
from scripts.gauges import MB, cpu_s, resident_bytes
from tests.mount.support import Mounted

# The part of a run at its beginning that is not judged: caches fill, pools and the tree grow to their size.
WARM_UP = 0.25
# A growth of less than this part of the median is level, if it is not below the gauge's own tolerance anyway.
_TOLERANCE = 0.05
# Slopes are medians over pairs, so the work is bounded by looking at no more samples than this.
_MOST_POINTS = 200
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Gauge:
    """A figure of a mount. `tolerance`: growth over the judged part of a run that counts as level; None: not judged.

    `of_process`: it begins anew with each process, so it is judged only where one process lived through the run.
    """

    name: str
    label: str
    tolerance: float | None
    digits: int = 0
    of_process: bool = False


GAUGES = (
    Gauge("memory_mb", "resident memory, MB", 3.0, 1, of_process=True),
    Gauge("descriptors", "open descriptors", 4, of_process=True),
    Gauge("threads", "threads", 4, of_process=True),
    Gauge("tasks", "tasks", 20, of_process=True),
    Gauge("kernel_inodes", "inodes the kernel knows", 150, of_process=True),
    Gauge("database_mb", "database, MB", 0.5, 2),
    Gauge("wal_mb", "its log (-wal), MB", 2.0, 2),
    Gauge("log_mb", "log files, MB", None, 2),
    Gauge("content_mb", "content on disk, MB", 20.0, 1),
    Gauge("files", "files in the tree", 150),
    Gauge("pending", "pending changes", 50),
    Gauge("cpu_percent", "CPU, %", None, 0),
)


@dataclass(frozen=True)
class Sample:
    """The figures of one mount at a time in seconds since the beginning of the run."""

    at_s: float
    mount: str
    pid: int
    values: dict[str, float]


@dataclass(frozen=True)
class Course:
    """How a figure went: `growth` over the judged part of the run, `per_hour` the same as a rate.

    `is_level` is None where that is not judged.
    """

    first: float
    median: float
    most: float
    last: float
    growth: float
    per_hour: float
    is_level: bool | None


def course(samples: Sequence[Sample], gauge: Gauge) -> Course:
    """Return the course of one figure of one mount. Needs at least two samples."""
    points = [(sample.at_s, sample.values[gauge.name]) for sample in samples]
    values = [value for _, value in points]
    judged = points[int(len(points) * WARM_UP) :] if len(points) > 3 else points
    slope = _slope(judged[:: max(1, len(judged) // _MOST_POINTS)])
    growth = slope * (judged[-1][0] - judged[0][0])
    median, level = statistics.median(values), None
    if gauge.tolerance is not None and not (gauge.of_process and len({sample.pid for sample in samples}) > 1):
        level = growth <= max(gauge.tolerance, _TOLERANCE * abs(median))
    return Course(values[0], median, max(values), values[-1], growth, slope * _HOUR_S, level)


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope of all pairs (Theil and Sen): one outage or one remount does not tilt it."""
    return statistics.median((v2 - v1) / (t2 - t1) for (t1, v1), (t2, v2) in combinations(points, 2) if t2 > t1)


# -- reading them


def figures(mount: Mounted, status: Status) -> dict[str, float]:
    """Return the figures of a running mount but for its CPU. Raises OSError when its process has gone."""
    process = Path(f"/proc/{status.pid}")
    fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    content = status.content
    return {
        "memory_mb": resident_bytes(status.pid)[0] / MB,
        "descriptors": sum(1 for _ in (process / "fd").iterdir()),
        "threads": int(fields["Threads"]),
        "tasks": status.in_memory.tasks,
        "kernel_inodes": status.in_memory.kernel_inodes,
        "database_mb": _bytes_of([mount.state / "state.db"]) / MB,
        "wal_mb": _bytes_of([mount.state / "state.db-wal"]) / MB,
        "log_mb": _bytes_of((mount.state / "log").iterdir()) / MB,
        "content_mb": (content.pinned_bytes + content.evictable_bytes + content.staging_bytes) / MB,
        "files": status.files,
        "pending": sum(kind.count for kind in status.pending),
    }


def _bytes_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.exists())


@dataclass
class Sampler:
    """Samples mounts in a thread of its own until it is told to stop.

    A mount that does not answer is noted in `silences`: the caller knows which of them it has caused.
    """

    mounts: dict[str, Mounted]
    began: float
    every_s: float
    samples: list[Sample] = field(default_factory=list)
    silences: list[tuple[float, str, str]] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    # By process: when it was last looked at, and its CPU time then.
    _cpu: dict[int, tuple[float, float]] = field(default_factory=dict)

    def run(self) -> None:
        """Sample until `stop`."""
        while True:
            for name, mount in self.mounts.items():
                self.sample(name, mount)
            if self._over.wait(self.every_s):
                return

    def stop(self) -> None:
        self._over.set()

    def sample(self, name: str, mount: Mounted) -> None:
        """Take one sample of a mount."""
        at_s = time.monotonic() - self.began
        try:
            status = mount.status()
            values = figures(mount, status) | {"cpu_percent": self._cpu_percent(status.pid)}
        except (RemotefsError, OSError) as error:
            self.silences.append((at_s, name, str(error)))
            return
        self.samples.append(Sample(at_s, name, status.pid, values))

    def of(self, name: str) -> list[Sample]:
        """Return the samples of one mount so far."""
        return [sample for sample in self.samples if sample.mount == name]

    def _cpu_percent(self, pid: int) -> float:
        now, used = time.monotonic(), cpu_s(pid)
        then, before = self._cpu.get(pid, (now - self.every_s, used))
        self._cpu[pid] = (now, used)
        return 100 * (used - before) / (now - then)


# -- keeping them


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples as CSV, a line each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("at_s", "mount", "pid", *(gauge.name for gauge in GAUGES)))
        for sample in samples:
            cells = (f"{sample.values[gauge.name]:.{gauge.digits}f}" for gauge in GAUGES)
            rows.writerow((f"{sample.at_s:.0f}", sample.mount, sample.pid, *cells))


def read_samples(path: Path) -> Iterator[Sample]:
    """Yield the samples of a file that `write_samples` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values = {gauge.name: float(row[gauge.name]) for gauge in GAUGES}
            yield Sample(float(row["at_s"]), row["mount"], int(row["pid"]), values)
