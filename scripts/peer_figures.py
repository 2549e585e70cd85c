"""What is measured of a peer, and how: a `Work` costs time, CPU time and memory of who serves it, and traffic."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from scripts.gauges import (
    MB,
    MIB,
    cpu_s,
    forget_all_pages,
    forget_pages,
    forget_peak,
    read,
    resident_bytes,
    timed,
)
from scripts.peers import REMOTEFS, Origin, Place, Start, Traffic

_PAGE = 4096
CURL = "curl, no mount"
STREAMS = 4
LOOKS = 3
SMALL_BYTES = 16 * 1024
WRITTEN = 50
# What a reader asks for at a time: as cp and cat do, and as the readers here do.
BLOCKS = (128 * 1024, MIB)
LOCAL, SINGLE_PAGES = "ext4, or what the folder lies on", "the same, its pages read one by one"
# How long traffic has to stand still to be over.
_QUIET_S = 0.3
_QUIET_AT_MOST_S = 5.0


class Work(StrEnum):
    """What is done, in the order of the tables."""

    LIST = "mount, then list a large folder"
    LIST_AGAIN = "list it again"
    COLD = "read a cold file"
    EIGHT_RANGES = "the same in eight ranges at once"
    AFTER_LOOKS = "read a cold file after looks at three others"
    BESIDE_PAUSED = "read a cold file beside a reader that stands still"
    WARM = "read it again, from the daemon"
    DISK = "read it again, every page dropped"
    CACHED = "read it again, from the page cache"
    FIRST = "first 4 KiB of a cold file"
    SEEK = "4 KiB of its middle then"
    FOUR = "four cold files at once"
    SMALL = "`cat *` of cold small files"
    SMALL_AGAIN = "the same again"
    LARGE_WRITE = "write a large file until it is there"
    SMALL_WRITE = "write small files until they are there"


_RATES = {
    Work.COLD, Work.EIGHT_RANGES, Work.AFTER_LOOKS, Work.BESIDE_PAUSED, Work.WARM, Work.DISK, Work.CACHED, Work.FOUR,
    Work.LARGE_WRITE,
}  # fmt: skip
_WAITS = {Work.FIRST, Work.SEEK}


@dataclass(frozen=True)
class Cost:
    """What a work took. None: nobody counts it."""

    seconds: float
    payload_bytes: int = 0
    cpu_s: float | None = None
    peak_bytes: int | None = None
    requests: int | None = None
    moved_bytes: int | None = None


def unit(work: Work) -> str:
    return "MB/s" if work in _RATES else "ms" if work in _WAITS else "s"


def figure(work: Work, cost: Cost) -> float:
    """The figure that people compare, in the work's unit."""
    if work in _RATES:
        return cost.payload_bytes / MB / cost.seconds
    return cost.seconds * 1000 if work in _WAITS else cost.seconds


@dataclass(frozen=True)
class Size:
    """How much is measured, and how often: so many rounds, fewer for who has taken `patience_s` of a kind of work."""

    rounds: int
    large_mb: int
    stream_mb: int
    small_files: int
    small_rounds: int
    listed: int
    patience_s: float

    @property
    def large_bytes(self) -> int:
        return self.large_mb * MB

    @property
    def stream_bytes(self) -> int:
        """The bytes of the smallest file that counts as large: one of those that are read at once."""
        return self.stream_mb * MB // STREAMS


@dataclass
class Gauge:
    """What each work on one place took, each time. `settling`: wait until its traffic is over and count that too."""

    settling: bool
    costs: dict[Work, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def take(self, work: Work, place: Place, act: Callable[[], object], payload_bytes: int = 0) -> None:
        forget_peak(place.pid)
        used, before = cpu_s(place.pid), place.link.traffic()
        seconds = timed(act)
        self._note(work, place, Cost(seconds, payload_bytes, cpu_s(place.pid) - used), before)

    def take_new(self, work: Work, start: Callable[[], Place], act: Callable[[Place], object]) -> Place:
        """The same of a place that is mounted for it: all that its process did is part of it."""
        began = time.perf_counter()
        place = start()
        act(place)
        seconds = time.perf_counter() - began
        self._note(work, place, Cost(seconds, cpu_s=cpu_s(place.pid)), Traffic(0, 0))
        return place

    def _note(self, work: Work, place: Place, cost: Cost, before: Traffic | None) -> None:
        after = self._settled(place) if self.settling else None
        requests = moved = None
        if after is not None and before is not None:
            requests = after.requests - before.requests if place.speaks_http else None
            moved = after.moved_bytes - before.moved_bytes
        peak = resident_bytes(place.pid)[1]
        self.costs[work].append(Cost(cost.seconds, cost.payload_bytes, cost.cpu_s, peak, requests, moved))

    def _settled(self, place: Place) -> Traffic | None:
        end = time.monotonic() + _QUIET_AT_MOST_S
        seen = place.link.traffic()
        while time.monotonic() < end:
            time.sleep(_QUIET_S)
            before, seen = seen, place.link.traffic()
            if before == seen:
                break
        return seen


def together(timed_costs: dict[Work, list[Cost]], counted_costs: dict[Work, list[Cost]]) -> dict[Work, Cost]:
    """Medians of the times, and the traffic of the last counted round: the first one may have tried things out."""
    return {work: _median(costs, counted_costs.get(work, costs)[-1]) for work, costs in timed_costs.items()}


def _median(costs: list[Cost], counted: Cost) -> Cost:
    return Cost(
        statistics.median(cost.seconds for cost in costs),
        costs[0].payload_bytes,
        statistics.median(used) if (used := [cost.cpu_s for cost in costs if cost.cpu_s is not None]) else None,
        max((cost.peak_bytes for cost in costs if cost.peak_bytes is not None), default=None),
        counted.requests,
        counted.moved_bytes,
    )


# -- the work, in rounds


def measure(
    starts: Mapping[str, Start], origin: Origin, size: Size, folder: Path, curl: Curl | None = None
) -> dict[str, dict[Work, list[Cost]]]:
    """All works of all peers, and those of curl. What they keep lies in `folder` meanwhile."""
    gauges = {name: Gauge(origin.counted) for name in starts}
    listing = {name: partial(list_round, gauges[name], start, origin, size, folder) for name, start in starts.items()}
    in_turns(listing, size.rounds, size.patience_s)
    with TemporaryDirectory(dir=folder) as home, ExitStack() as ends:
        places = {name: start(Path(home) / name.replace(" ", "-"), origin, ends) for name, start in starts.items()}
        for place in places.values():
            list_all(place.path)
        for kind, most in kinds(size):
            rounds: dict[str, Round] = {name: partial(kind, gauges[name], places[name], size) for name in starts}
            if curl is not None:
                rounds |= curl.rounds(kind)
            in_turns(rounds, most, size.patience_s)
    return {name: gauge.costs for name, gauge in gauges.items()}


def kinds(size: Size) -> list[tuple[Kind, int]]:
    """The kinds of rounds and how many of each. Who looks does so first, before a mount can have learned from others;
    after the last one, the servers would have to read from the disk.
    """
    once, few = size.rounds, size.small_rounds
    return [
        (looks_round, few),
        (cold_round, once),
        (warm_round, once),
        (waits_round, once),
        (small_round, few),
        (large_write_round, once),
        (small_write_round, few),
        (disk_round, once),
    ]


def in_turns(rounds: Mapping[str, Round], most: int, patience_s: float) -> None:
    """Each its first round, then each its second: a slow minute of the machine meets them all. Who begins, changes."""
    spent = dict.fromkeys(rounds, 0.0)
    names = list(rounds)
    for number in range(most):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if spent[name] < patience_s:
                # What the one before wrote is not written while this one is measured.
                os.sync()
                spent[name] += timed(partial(rounds[name], number))


def list_round(gauge: Gauge, start: Start, origin: Origin, size: Size, folder: Path, number: int) -> None:
    """Time and requests from the start of the mount command on, for some ask before and some ask after it."""
    del number

    def listed(place: Place) -> None:
        assert list_all(place.path / "many") == size.listed

    with TemporaryDirectory(dir=folder) as home, ExitStack() as ends:
        place = gauge.take_new(Work.LIST, partial(start, Path(home), origin, ends), listed)
        gauge.take(Work.LIST_AGAIN, place, partial(listed, place))


def list_all(path: Path) -> int:
    """As `ls -l`: the names and their attributes. How many."""
    with os.scandir(path) as entries:
        return sum(entry.stat().st_nlink > 0 for entry in entries)


def cold_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    path = place.path / f"large{number}"
    gauge.take(Work.COLD, place, partial(read, path), size.large_bytes)
    forget_files(place, size, [path])


def looks_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    """Looks at other large files, and one of them held open half-read, as by a player that was stopped."""
    looked = [place.path / f"look{number}-{n}" for n in range(LOOKS)]
    for path in looked:
        with path.open("rb", buffering=0) as file:
            file.read(_PAGE)
    after, beside = place.path / f"after{number}", place.path / f"beside{number}"
    gauge.take(Work.AFTER_LOOKS, place, partial(read, after), size.large_bytes)
    with looked[0].open("rb", buffering=0) as paused:
        paused.read(MIB)
        paused.read(MIB)
        gauge.take(Work.BESIDE_PAUSED, place, partial(read, beside), size.large_bytes)
    forget_files(place, size, [after, beside, *looked])


def warm_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    """Of a file that a cold round has read."""
    path = place.path / f"large{number}"
    read(path)
    gauge.take(Work.CACHED, place, partial(read, path), size.large_bytes)
    forget_pages(path)
    gauge.take(Work.WARM, place, partial(read, path), size.large_bytes)
    forget_files(place, size, [path])


def disk_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    """Of a file that was read before; not where only root may drop all pages."""
    if forget_all_pages():
        gauge.take(Work.DISK, place, partial(read, place.path / f"large{number}"), size.large_bytes)


def waits_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    with (place.path / f"seek{number}").open("rb", buffering=0) as file:
        gauge.take(Work.FIRST, place, partial(os.pread, file.fileno(), _PAGE, 0), _PAGE)
        gauge.take(Work.SEEK, place, partial(os.pread, file.fileno(), _PAGE, size.large_bytes // 2), _PAGE)
    streams = [place.path / f"stream{number}-{n}" for n in range(STREAMS)]
    gauge.take(Work.FOUR, place, partial(read_at_once, streams), size.stream_mb * MB)
    forget_files(place, size, streams)


def forget_files(place: Place, size: Size, paths: list[Path]) -> None:
    """Give back the memory that files took, and what the place keeps of them; not that of a small file or a database.

    Without this a run goes through all memory. On a virtual machine each page that was not in use lately has to be
    found by the host first, which took twice the CPU time of everything else in a cold read.
    """
    os.sync()
    for path in [*paths, *place.kept(at_least=size.stream_bytes)]:
        forget_pages(path)


def read_at_once(paths: list[Path]) -> None:
    readers = [subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL) for path in paths]
    assert [reader.wait() for reader in readers] == [0] * len(paths)


def small_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    act = partial(cat_all, place.path / f"small{number}", size)
    gauge.take(Work.SMALL, place, act, size.small_files * SMALL_BYTES)
    gauge.take(Work.SMALL_AGAIN, place, act, size.small_files * SMALL_BYTES)


def cat_all(folder: Path, size: Size) -> None:
    done = subprocess.run("cat * | wc -c", shell=True, cwd=folder, capture_output=True, check=True)
    assert int(done.stdout) == size.small_files * SMALL_BYTES


def large_write_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    if place.writes_through:
        noise = os.urandom(size.stream_mb * MB)
        path = new_folder(place) / f"large{number}"
        gauge.take(Work.LARGE_WRITE, place, partial(path.write_bytes, noise), len(noise))


def small_write_round(gauge: Gauge, place: Place, size: Size, number: int) -> None:
    del size, number
    if place.writes_through:
        gauge.take(Work.SMALL_WRITE, place, partial(write_small, new_folder(place)), WRITTEN * 1000)


def new_folder(place: Place) -> Path:
    """One of its own for each round: what is written stays at the server."""
    return Path(mkdtemp(prefix="written-", dir=place.path))


def write_small(folder: Path) -> None:
    for number in range(WRITTEN):
        (folder / f"new{number}").write_bytes(b"1" * 1000)


Round = Callable[[int], None]
Kind = Callable[[Gauge, Place, Size, int], None]


# -- without any file system


@dataclass
class Curl:
    """What the way to the server gives: one stream, eight ranges, small files one after another on one connection.

    `headers`: a file with the key. `url` is that of a file's content by its path.
    """

    headers: Path
    url: Callable[[str], str]
    size: Size
    costs: dict[Work, list[Cost]] = field(default_factory=lambda: defaultdict(list))

    def rounds(self, kind: Kind) -> dict[str, Round]:
        """Its part in a kind of rounds."""
        mine: dict[Kind, Round] = {cold_round: self._large, small_round: self._small}
        return {CURL: mine[kind]} if kind in mine else {}

    def _large(self, number: int) -> None:
        url, step = self.url(f"large{number}"), self.size.large_bytes // 8
        ranges = [f"{n * step}-{(n + 1) * step - 1}" for n in range(8)]
        self._take(Work.COLD, [[url]], self.size.large_bytes)
        self._take(Work.EIGHT_RANGES, [["-r", part, url] for part in ranges], self.size.large_bytes)

    def _small(self, number: int) -> None:
        urls = [self.url(f"small{number}/{n:05}") for n in range(self.size.small_files)]
        self._take(Work.SMALL, [urls], self.size.small_files * SMALL_BYTES)

    def _take(self, work: Work, requests: list[list[str]], payload_bytes: int) -> None:
        self.costs[work].append(Cost(timed(partial(self._fetch, requests)), payload_bytes))

    def _fetch(self, requests: list[list[str]]) -> None:
        """One process for each list of arguments, all at once."""
        command = ["curl", "-sf", "-H", f"@{self.headers}"]
        running = [subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL) for arguments in requests]
        assert [process.wait() for process in running] == [0] * len(requests)


# -- the page cache beside that of the disk's own file system


def measure_page_cache(mounted: Path, local: Path, folder: Path, rounds: int) -> dict[str, dict[int, float]]:
    """MB/s by file system and block size, in turns. What lies in `mounted` and `local` is the same.

    FUSE keeps a file in pages of 4 KiB and ext4 in larger folios, which fewer look-ups find. So a third file is one of
    the disk that was read page by page, for those stay as they came.
    """
    single = folder / "single"
    shutil.copyfile(local, single)
    read_by_page(single)
    files = {REMOTEFS: mounted, LOCAL: local, SINGLE_PAGES: single}
    for path in files.values():
        read(path)
    times: dict[str, dict[int, list[float]]] = {name: {block: [] for block in BLOCKS} for name in files}
    for number in range(rounds):
        for name in sorted(files, reverse=bool(number % 2)):
            for block in BLOCKS:
                times[name][block].append(timed(partial(read, files[name], block)))
    size_mb = local.stat().st_size / MB
    single.unlink()
    return {
        name: {block: size_mb / statistics.median(values) for block, values in blocks.items()}
        for name, blocks in times.items()
    }


def read_by_page(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        number = file.fileno()
        os.fsync(number)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(number, 0, 0, os.POSIX_FADV_RANDOM)
        for offset in range(0, os.fstat(number).st_size, _PAGE):
            os.pread(number, _PAGE, offset)
