"""Measure beside peers: `python scripts/bench_peers.py [--quick] [--networks 0:0,30:40] [--root DIR] [--to FILE.md]`.

The same bytes in the same run, over loopback and over a simulated network (`slow_link.py`) of so many milliseconds of
round trip and so many 10^6 bytes a second for each connection, for each peer of `peers.py`, and for plain curl on the
local server. Times and CPU time are medians of several rounds, memory is the most of any; CPU and memory are those of
the process that serves the mount. Requests (of HTTP) and bytes are counted in a pass of its own, each once its traffic
is over. Each cold figure is of a file that was never read before. With `--to`, a file beside FILE.md with the suffix
.json gets every figure, which `plot.py` draws.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.gauges import MB, post, read, seed
from scripts.peer_aims import Figures
from scripts.peer_aims import rows as aim_rows
from scripts.peer_figures import (
    BLOCKS,
    CURL,
    LOCAL,
    LOOKS,
    SINGLE_PAGES,
    SMALL_BYTES,
    STREAMS,
    WRITTEN,
    Cost,
    Curl,
    Size,
    Work,
    figure,
    measure,
    measure_page_cache,
    together,
    unit,
)
from scripts.peers import REMOTEFS, Network, Origin, installed, linked, port_of
from scripts.report import Report, Row, machine, reporting
from tests.mount.support import remote
from tests.server_process import ServerProcess, running_server

LOOPBACK = Network(0, 0)
FULL = Size(rounds=5, large_mb=256, stream_mb=64, small_files=1000, small_rounds=3, listed=10_000, patience_s=15)
QUICK = Size(rounds=3, large_mb=96, stream_mb=24, small_files=150, small_rounds=1, listed=10_000, patience_s=30)
TINY = Size(rounds=1, large_mb=8, stream_mb=4, small_files=20, small_rounds=1, listed=500, patience_s=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything, three rounds instead of five")
    parser.add_argument("--tiny", action="store_true", help="next to nothing: to try this script")
    parser.add_argument("--networks", default="0:0,30:40", help="RTT_MS:MB_PER_S, several; default: %(default)s")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk to measure on")
    parser.add_argument("--to", type=Path, default=None, help="the file to write the tables to")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    size = TINY if given.tiny else QUICK if given.quick else FULL
    networks = [Network(*map(float, words.split(":"))) for words in given.networks.split(",")]
    with reporting(given.to, "A mount beside its peers", "`scripts/bench_peers.py`") as report:
        report.say(what_is_measured(size))
        with tempfile.TemporaryDirectory(dir=given.root and given.root.resolve()) as folder:
            results = measure_all(Path(folder), networks, size, report)
    if given.to is not None:
        given.to.with_suffix(".json").write_text(json.dumps({"machine": machine(), **results}, indent=1) + "\n")


def what_is_measured(size: Size) -> str:
    return (
        f"Medians of {size.rounds} rounds in turns (small files: {size.small_rounds}), of fewer where a kind of work"
        f" takes a peer more than {size.patience_s:g} s. A large file has {size.large_mb} MB, four at once have"
        f" {size.stream_mb} MB together, as a written one has; the large folder has {size.listed:,} files, the small"
        f" files are {size.small_files:,} of {SMALL_BYTES >> 10} KiB, and {WRITTEN} of 1,000 bytes are written."
    )


def measure_all(folder: Path, networks: list[Network], size: Size, report: Report) -> dict[str, Any]:
    """Tables of each network; every figure, for a file."""
    source = folder / "source"
    make_source(source, size)
    with running_server(folder / "server") as server:
        ids = upload_all(server, source, size)
        for root in (source, server.root):
            link_equal(root, at_least=size.stream_bytes)
        origin = Origin(server, source, networks[0], counted=False)
        found: dict[str, Any] = {}
        for network in networks:
            at = replace(origin, network=network)
            figures = compare(folder, at, ids, size)
            tell(report, network, figures)
            found[str(network)] = {
                name: {work: asdict(cost) for work, cost in costs.items()} for name, costs in figures.items()
            }
        rates = page_cache(folder, replace(origin, network=LOOPBACK), size)
        tell_page_cache(report, rates)
    return {"networks": found, "page_cache_mb_per_s": rates}


def make_source(source: Path, size: Size) -> None:
    """What is read: files of noise, for something on the way may compress."""
    noise = os.urandom(size.large_bytes)
    source.mkdir()
    for number in range(size.rounds):
        (source / f"large{number}").write_bytes(noise)
        (source / f"seek{number}").write_bytes(noise)
        for stream in range(STREAMS):
            (source / f"stream{number}-{stream}").write_bytes(noise[: size.stream_bytes])
    for number in range(size.small_rounds):
        (source / f"after{number}").write_bytes(noise)
        (source / f"beside{number}").write_bytes(noise)
        for n in range(LOOKS):
            (source / f"look{number}-{n}").write_bytes(noise[: size.stream_bytes])
        (source / f"small{number}").mkdir()
        for n in range(size.small_files):
            (source / f"small{number}" / f"{n:05}").write_bytes(noise[n : n + SMALL_BYTES])
    (source / "many").mkdir()
    for n in range(size.listed):
        (source / "many" / many(n)).write_bytes(b"1")


def link_equal(root: Path, at_least: int) -> None:
    """Make the large files of one size, which have the same bytes, one file: it is in memory once, to be read there."""
    seen: dict[int, Path] = {}
    for path in sorted(root.rglob("*")):
        size = path.stat().st_size
        if path.is_file() and size >= at_least and seen.setdefault(size, path) != path:
            path.unlink()
            path.hardlink_to(seen[size])


def many(number: int) -> str:
    return f"file-{number:05}.txt"


def upload_all(server: ServerProcess, source: Path, size: Size) -> dict[str, str]:
    """The ids by path. Those of the large folder are only listed."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file() and path.parent.name != "many"]
    names = [str(path.relative_to(source)) for path in files]
    ids = {name: post(server, remote(name), path) for name, path in zip(names, files, strict=True)}
    seed(server.root, [remote(f"many/{many(n)}") for n in range(size.listed)])
    return ids


def compare(folder: Path, origin: Origin, ids: dict[str, str], size: Size) -> Figures:
    """What each work costs each peer: once for the times, and once more for the traffic."""
    keep_in_memory(origin)
    headers = folder / "headers"
    headers.write_text(f"x-api-key: {origin.server.key}\n")
    with linked(origin.network, port_of(origin.server), counted=False) as link:
        curl = Curl(headers, lambda name: f"http://127.0.0.1:{link.port}/v1/files/{ids[name]}/content", size)
        timed_costs = measure(installed(), origin, size, folder, curl)
    counting = replace(size, rounds=min(2, size.rounds), small_rounds=1, patience_s=min(20, size.patience_s))
    counted_costs = measure(installed(), replace(origin, counted=True), counting, folder)
    return {
        CURL: together(curl.costs, {}),
        **{name: together(costs, counted_costs[name]) for name, costs in timed_costs.items()},
    }


def keep_in_memory(origin: Origin) -> None:
    """The servers read from the page cache: it is not their disk that is measured."""
    for root in (origin.server.root, origin.folder):
        for path in root.rglob("*"):
            if path.is_file():
                read(path)


def page_cache(folder: Path, origin: Origin, size: Size) -> dict[str, dict[int, float]]:
    with tempfile.TemporaryDirectory(dir=folder) as home, ExitStack() as ends:
        place = installed()[REMOTEFS](Path(home), origin, ends)
        return measure_page_cache(place.path / "large0", origin.folder / "large0", folder, 3 * size.rounds)


# -- tables


def tell(report: Report, network: Network, figures: Figures) -> None:
    report.say(f"## {network}")
    works = [work for work in Work if any(work in costs for costs in figures.values())]
    report.table(("", *figures), [figure_row(work, figures) for work in works] + per_gb_rows(figures))
    report.say("HTTP requests, MB moved both ways, MB resident at most, CPU seconds:")
    mounts = {name: costs for name, costs in figures.items() if name != CURL}
    works = [work for work in works if work != Work.EIGHT_RANGES]
    report.table(
        ("", *mounts), [(str(work), *(cost_cell(costs.get(work)) for costs in mounts.values())) for work in works]
    )
    report.say("What was aimed for:")
    report.table(("", "aim", "in this run", ""), aim_rows(network, figures))


def figure_row(work: Work, figures: Figures) -> Row:
    digits = 2 if unit(work) == "s" else 0
    cells = (f"{figure(work, costs[work]):.{digits}f}" if work in costs else "-" for costs in figures.values())
    return (f"{work}, {unit(work)}", *cells)


def per_gb_rows(figures: Figures) -> list[Row]:
    return [
        (f"CPU s per GB: {work}", *(per_gb(costs.get(work)) for costs in figures.values()))
        for work in (Work.COLD, Work.WARM)
    ]


def per_gb(cost: Cost | None) -> str:
    return "-" if cost is None or cost.cpu_s is None else f"{cost.cpu_s / cost.payload_bytes * 1e9:.1f}"


def cost_cell(cost: Cost | None) -> str:
    if cost is None:
        return "-"
    values = (cost.requests, in_mb(cost.moved_bytes, 2), in_mb(cost.peak_bytes, 0), f"{cost.cpu_s or 0:.2f}")
    return ", ".join("-" if value is None else str(value) for value in values)


def in_mb(size: int | None, digits: int) -> str | None:
    return None if size is None else f"{size / MB:.{digits if size < 10 * MB else 0}f}"


def tell_page_cache(report: Report, rates: dict[str, dict[int, float]]) -> None:
    report.say("## From the kernel's page cache, MB/s")
    names = [f"{block >> 10} KiB at a time" for block in BLOCKS]
    found = [(name, *(f"{rate:.0f}" for rate in of.values())) for name, of in rates.items()]
    shares = [
        (f"{REMOTEFS} beside {name}", *(f"{rates[REMOTEFS][block] / rates[name][block]:.0%}" for block in BLOCKS))
        for name in (LOCAL, SINGLE_PAGES)
    ]
    report.table(("", *names), found + shares)


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"It took {time.perf_counter() - began:.0f} s.")
