"""Let two mounts of one account work for an hour: `python scripts/soak.py [--minutes 60] [--to FILE.md]`.

Programs as people use them edit files in two real mounts on a faulty local server; each edit is done again on the plain
disk, and both are compared. Every ten seconds the memory, descriptors and other figures of both mounts are read.
In the end the faults stop: both mounts have to drain and to agree, and nothing may be lost. Mount `a` lives as long as
the run does; `b` is unmounted, ended or killed now and then, between two steps of its programs.

With `--to`, FILE.md gets the tables and FILE.csv every sample, which `soak_plot.py` draws. The exit status is 1 when
something went wrong, or a figure that should stay level did not.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.report import Report, reporting
from scripts.soak_end import End
from scripts.soak_gauges import GAUGES, WARM_UP, Course, Gauge, Sampler, course, write_samples
from scripts.soak_programs import installed
from scripts.soak_weather import Others, Weather
from scripts.soak_work import Commands, Giver, Journal, Reader, SharedWriter, Site, Twins
from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, detach, is_mounted
from tests.server_process import environment

_SETTINGS = {
    # The budget has its own tests: here it would be the brake of everything.
    "REMOTEFS_SERVICE_REQUESTS_PER_MINUTE": "0",
    "REMOTEFS_SERVICE_IO_TIMEOUT_S": "20",
    "REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "3",
    "REMOTEFS_WRITEBACK_REUPLOAD_WAIT_S": "10",
    # Rows of removed files go after two complete listings: in an hour there should be some.
    "REMOTEFS_REFRESH_WALK_EVERY_S": "60",
    # Each mount removes a good part of all files every minute, which the other would hold to be a mistake (S1).
    "REMOTEFS_REFRESH_REMOVAL_GUARD_FRACTION": "0.6",
}
_DURABILITIES = {"a": "remote", "b": "local"}
_ARCHIVE_FILES = 1100
_STUCK_S = 660.0
# In a shorter run most of what grows is what fills: that does not make it fail.
_WARM_S = 1800.0
_VERDICTS = {True: "level", False: "**grows**", None: ""}


@dataclass(frozen=True)
class Plan:
    """How long and how hard; all in seconds."""

    seconds: float
    pace_s: float
    sample_every_s: float
    weather_every_s: float
    outage_s: float
    remount_every_s: float
    seed: int

    @classmethod
    def of(cls, minutes: float, pace_s: float, seed: int) -> Plan:
        seconds = minutes * 60
        weather_every_s = min(300.0, seconds / 3)
        return cls(
            seconds,
            pace_s,
            sample_every_s=min(10.0, seconds / 30),
            weather_every_s=weather_every_s,
            outage_s=min(60.0, weather_every_s / 4),
            remount_every_s=min(480.0, seconds / 3.5),
            seed=seed,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long; default: %(default)s")
    parser.add_argument("--pace", type=float, default=3.0, help="seconds between two steps of a program")
    parser.add_argument("--seed", type=int, default=1, help="of what is done; not of what comes at the same time")
    parser.add_argument("--downloadable", action="store_true", help="a service that gives uploads back")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk to work on")
    parser.add_argument("--keep", action="store_true", help="keep that folder, for a look at what went wrong")
    parser.add_argument("--to", type=Path, default=None, help="the file to write the tables to")
    given = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    plan = Plan.of(given.minutes, given.pace, given.seed)
    how = f"`scripts/soak.py --minutes {given.minutes:g}`"
    with reporting(given.to, "A soak", how) as report, _folder(given.root, keep=given.keep) as folder:
        good = soak(folder, plan, report, samples=given.to and given.to.with_suffix(".csv"), back=given.downloadable)
    sys.exit(0 if good else 1)


@contextmanager
def _folder(root: Path | None, *, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(dir=root))
        return
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield Path(folder)


def soak(folder: Path, plan: Plan, report: Report, *, samples: Path | None = None, back: bool = False) -> bool:
    """Run a soak and report it. Return whether nothing went wrong and all is level. `back`: uploads can be read."""
    with ExitStack() as ends:
        server = ends.enter_context(faulty_server(folder / "server", uploads_downloadable=back))
        run = Run(folder, plan, server)
        run.others.settle_in(_ARCHIVE_FILES)
        ends.callback(run.unmount_all)
        run.mount_all()
        run.work()
        run.end()
    if samples is not None:
        write_samples(samples, run.sampler.samples)
    return tell(run, report)


class Worker(Protocol):
    """Something that goes on until it is told to stop."""

    def run(self, over: threading.Event) -> None: ...


class Run:
    """One soak: two sites, their workers, the weather and the others."""

    def __init__(self, folder: Path, plan: Plan, server: FaultyServer) -> None:
        self.folder = folder
        self.plan = plan
        self.server = server
        self.journal = Journal(time.monotonic())
        self.sites = [_site(folder, name, server) for name in _DURABILITIES]
        self.weather = Weather(server, plan.seed, plan.weather_every_s, plan.outage_s)
        self.others = Others(server, plan.seed, plan.pace_s)
        mounts = {site.name: site.mount for site in self.sites}
        self.sampler = Sampler(mounts, self.journal.began, plan.sample_every_s)
        self.remounter = Remounter(self.sites[-1], self.journal, plan.remount_every_s)
        journal, seed, pace = self.journal, plan.seed, plan.pace_s
        self.twins = [Twins(site, program, journal, seed, pace) for site in self.sites for program in installed()]
        self.shared = [SharedWriter(site, journal, seed, 2 * pace) for site in self.sites]
        self.givers = [Giver(site, journal, seed) for site in self.sites]
        self.readers = [Reader(site, journal, seed, pace) for site in self.sites]
        self.commands = [Commands(site, journal, seed, pace) for site in self.sites]

    def mount_all(self) -> None:
        for site in self.sites:
            site.mount.started()

    def work(self) -> None:
        """Let all of them work at the same time for as long as the plan says."""
        over, sunny = threading.Event(), threading.Event()
        workers: list[Worker] = [*self.twins, *self.shared, *self.givers, *self.readers, *self.commands, self.remounter]
        working = [self._started(worker.run, over) for worker in workers]
        around = [self._started(self.weather.run, sunny), self._started(self.others.run, sunny)]
        sampling = threading.Thread(target=self.sampler.run)
        sampling.start()
        end = time.monotonic() + self.plan.seconds
        try:
            while time.monotonic() < end:
                time.sleep(min(1.0, self.plan.sample_every_s))
                self.server.script.forget_requests()
        finally:
            over.set()
            self._join(working)
            sunny.set()
            self._join(around)
            self.sampler.stop()
            sampling.join()

    def _started(self, work: Callable[[threading.Event], None], over: threading.Event) -> threading.Thread:
        """Start a worker in a thread; an error that it did not expect is a finding, and the others go on."""
        name = type(getattr(work, "__self__", work)).__name__

        def guarded() -> None:
            try:
                work(over)
            except Exception as error:  # noqa: BLE001 - the finding tells which
                self.journal.find(f"{name} ended with {error!r}")

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def _join(self, threads: list[threading.Thread]) -> None:
        end = time.monotonic() + _STUCK_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
            if thread.is_alive():
                self.journal.find(f"{thread.name} does not end")

    def end(self) -> None:
        """Look at what there is once the service is well."""
        last = End(self.sites, self.journal)
        last.drain()
        for worker in self.twins:
            worker.agree()
        last.agree()
        self.journal.say(f"{last.compare_readable(self.twins)} files of a mount can be read in the other, too")
        last.shared(self.shared)
        last.given(self.givers)
        last.check()

    def unmount_all(self) -> None:
        """Unmount whatever is mounted."""
        for site in self.sites:
            if is_mounted(site.mount.path):
                site.mount.end()


def _site(folder: Path, name: str, server: FaultyServer) -> Site:
    path, twins = folder / name / "mnt", folder / name / "twins"
    for made in (path, twins):
        made.mkdir(parents=True)
    settings = _SETTINGS | {"REMOTEFS_WRITEBACK_DURABILITY": _DURABILITIES[name], "ANTHROPIC_API_KEY": KEY}
    return Site(name, Mounted(path, folder / name / "state", environment(settings), ("--base-url", server.url)), twins)


@dataclass
class Remounter:
    """Takes a mount away between two steps of its programs and brings it back: each way to end it in turn."""

    site: Site
    journal: Journal
    every_s: float
    at_s: list[float] = field(default_factory=list)

    def run(self, over: threading.Event) -> None:
        for end in cycle((self._umount, self._kill, self._terminate)):
            if over.wait(self.every_s):
                return
            self.journal.say(f"{self.site.name} is taken away: {end.__name__}")
            with self.site.gate.closed():
                self.at_s.append(time.monotonic() - self.journal.began)
                try:
                    end()
                    detach(self.site.mount.path)
                    self.site.mount.started()
                except AssertionError as error:
                    self.journal.find(f"{self.site.name} does not come back: {error}")
                    return

    def _umount(self) -> None:
        done = self.site.mount.umount(timeout=5)
        assert done.returncode in {0, 3}, done.stderr

    def _kill(self) -> None:
        self.site.mount.kill()

    def _terminate(self) -> None:
        self.site.mount.signal(signal.SIGTERM)
        end = time.monotonic() + 60
        while is_mounted(self.site.mount.path) and time.monotonic() < end:
            time.sleep(0.1)


# -- telling it


def tell(run: Run, report: Report) -> bool:
    """Report a run: tables and findings. Return whether it was good."""
    report.say(_told(run))
    level = True
    for site in run.sites:
        samples = run.sampler.of(site.name)
        report.say(f"## Mount `{site.name}`, {len(samples)} samples")
        courses = {gauge: course(samples, gauge) for gauge in GAUGES}
        level &= all(went.is_level is not False for went in courses.values())
        head = ("", "first", "median", "most", "last", f"an hour, after the first {WARM_UP:.0%}", "")
        report.table(head, [_row(gauge, went) for gauge, went in courses.items()])
    report.say("## Findings")
    for finding in run.journal.findings or ["None."]:
        report.say(finding.replace(str(run.folder), "FOLDER"))
    return (level or run.plan.seconds < _WARM_S) and not run.journal.findings


def _row(gauge: Gauge, went: Course) -> tuple[str, ...]:
    values = (f"{value:,.{gauge.digits}f}" for value in (went.first, went.median, went.most, went.last))
    return (gauge.label, *values, f"{went.per_hour:+,.{gauge.digits}f}", _VERDICTS[went.is_level])


def _told(run: Run) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(run.journal.counts.items()))
    spoiled = ", ".join(f"{count:,} {op}" for op, count in sorted(run.weather.spoiled().items()))
    silences = [
        f"{name} at {at_s:.0f} s ({text.replace(str(run.folder), 'FOLDER')[:80]})"
        for at_s, name, text in run.sampler.silences
    ]
    return (
        f"{run.plan.seconds / 60:g} minutes. Steps: {counts}. Spoiled requests: {spoiled}; {run.weather.outages}"
        f" outages of {run.plan.outage_s:.0f} s. Others added {run.others.added} files, removed {run.others.removed}"
        f" and {len(run.others.removed_ours)} of ours. `b` was taken away {len(run.remounter.at_s)} times."
        f" `status` had no answer {len(silences)} times: {'; '.join(silences[:20]) or 'none'}."
    )


if __name__ == "__main__":
    main()
