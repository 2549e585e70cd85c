"""The workers of a soak: threads that run programs in a mount and beside it, and compare."""

from __future__ import annotations

import difflib
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from scripts.soak_programs import Program
from scripts.soak_weather import GIVEN, OTHERS, content_of
from tests.mount.support import Mounted, remotefs

# A script takes longer only where something hangs: each close waits a few seconds at most.
_HANGS_S = 600.0
# How many steps of a program come between two comparisons of all that it made.
_COMPARE_EVERY = 6
_ENVIRONMENT = {
    "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@x",
    "GIT_AUTHOR_DATE": "@1700000000 +0000", "GIT_COMMITTER_DATE": "@1700000000 +0000",
}  # fmt: skip
SHARED = "shared"
_SHARED_NAMES = 12
# A conflict copy that is younger may not have been seen.
_SEEN_S = 60.0
_GIVEN_FILES = 30
_GIVEN_EVERY_S = 5.0


@dataclass
class Journal:
    """What happened in a run: `findings` should stay empty, `counts` should not."""

    began: float
    findings: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, text: str) -> None:
        """Note that something went wrong, and say so at once."""
        with self._lock:
            self.findings.append(f"{time.monotonic() - self.began:.0f} s: {text}")
        self.say(f"FINDING: {text}")

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {text}", flush=True)


class Gate:
    """Lets the workers of a mount through; while it is closed, none is at work and the mount may be taken away."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0
        self._is_open = True

    @contextmanager
    def step(self) -> Iterator[None]:
        """Be at work while the block lasts."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_open)
            self._inside += 1
        try:
            yield
        finally:
            with self._condition:
                self._inside -= 1
                self._condition.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Wait until nobody is at work, and keep it so while the block lasts."""
        with self._condition:
            self._is_open = False
            self._condition.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._condition:
                self._is_open = True
                self._condition.notify_all()


@dataclass
class Site:
    """A mount, the plain folder that has the twins of its folders, and the way in for workers."""

    name: str
    mount: Mounted
    twins: Path
    gate: Gate = field(default_factory=Gate)

    def pair(self, folder: str) -> tuple[Path, Path]:
        """Return the place of a folder in the mount and that of its twin."""
        return self.mount.path / self.name / folder, self.twins / folder


# -- programs with twins


@dataclass
class Twins:
    """Runs one program in a folder of a mount and in its twin; a difference ends this pair, and a new one begins."""

    site: Site
    program: Program
    journal: Journal
    seed: int
    pace_s: float
    round: int = 0

    @property
    def folder(self) -> str:
        return f"{self.program.name}-{self.round}"

    def run(self, over: threading.Event) -> None:
        """Work until told to stop."""
        while not over.is_set():
            self._live(over)
            self.round += 1
        self.round -= 1

    def _live(self, over: threading.Event) -> None:
        chance = random.Random(f"{self.seed} {self.site.name} {self.folder}")
        outside = self.site.twins.parent / "outside" / self.site.name / self.folder
        outside.mkdir(parents=True)
        with self.site.gate.step():
            for place in self.site.pair(self.folder):
                place.mkdir(parents=True)
        for number, script in enumerate(self.program.scripts(chance, outside)):
            if over.is_set():
                return
            with self.site.gate.step():
                if not self._is_same(script) or (number % _COMPARE_EVERY == 0 and not self.agree()):
                    return
            self.journal.count(self.program.name)
            over.wait(chance.uniform(0.5, 1.5) * self.pace_s)

    def agree(self) -> bool:
        """Return whether both folders hold the same; if not, that is a finding."""
        left_out = [f"--exclude={pattern}" for pattern in self.program.left_out]
        done = run(["diff", "-r", "--no-dereference", *left_out, *map(str, self.site.pair(self.folder))], Path("/"))
        if done.returncode:
            self.journal.find(f"{self.site.name}/{self.folder} differs from its twin: {done.stdout[:2000]}")
        return done.returncode == 0

    def _is_same(self, script: str) -> bool:
        began = time.monotonic()
        ours, twins = (run(["bash", "-euc", script], place) for place in self.site.pair(self.folder))
        same = (ours.returncode, ours.stdout) == (twins.returncode, twins.stdout)
        if not same or ours.returncode:
            lines = twins.stdout.splitlines(), ours.stdout.splitlines()
            told = list(islice(difflib.unified_diff(*lines, "twin", "mount", lineterm=""), 20))
            self.journal.find(
                f"{self.site.name}/{self.folder}: `{script[:300]}` took {time.monotonic() - began:.1f} s and ended with"
                f" {ours.returncode}, in the twin with {twins.returncode}: {told or ours.stdout[-600:]}"
            )
        return same


def run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; its output and its errors are one text. One that hangs ends with the status 124."""
    try:
        return subprocess.run(
            command, cwd=place, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="backslashreplace", timeout=_HANGS_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"still runs after {_HANGS_S:.0f} s")


# -- what one mount sees of the other and of others


@dataclass
class Reader:
    """Walks all, and reads what others put there: it may fail while the service does, and never be wrong."""

    site: Site
    journal: Journal
    seed: int
    pace_s: float

    def run(self, over: threading.Event) -> None:
        chance = random.Random(f"{self.seed} {self.site.name} reader")
        while not over.wait(chance.uniform(0.5, 1.5) * self.pace_s):
            with self.site.gate.step():
                self._look(chance)
            self.journal.count("reader")

    def _look(self, chance: random.Random) -> None:
        path = self.site.mount.path
        if chance.random() < 0.1:
            # Files go while it walks: it may say so.
            run(["find", str(path), "-printf", "%p %s\\n"], Path("/"))
        folder = path / OTHERS / str(chance.randrange(7)) if chance.random() < 0.8 else path / "archive/07"
        try:
            names = sorted(path.name for path in folder.iterdir())
        except FileNotFoundError:
            return
        for name in chance.sample(names, min(3, len(names))):
            if "[" not in name:
                self._read(folder / name)

    def _read(self, path: Path) -> None:
        name = str(path.relative_to(self.site.mount.path))
        try:
            found = path.read_bytes()
        except OSError as error:
            self.journal.count(f"reads that ended with {error.strerror}")
            return
        wanted = content_of(name) if name.startswith(OTHERS) else name.encode()
        if found != wanted:
            self.journal.find(f"{self.site.name}: {name} has {len(found)} bytes other than the {len(wanted)} put there")


@dataclass
class SharedWriter:
    """Writes files that the other mount writes, too: each content once, with the time when it was acknowledged."""

    site: Site
    journal: Journal
    seed: int
    pace_s: float
    # By name: the end of the last close, and what was written.
    written: dict[str, tuple[float, float, bytes]] = field(default_factory=dict)

    def run(self, over: threading.Event) -> None:
        chance = random.Random(f"{self.seed} {self.site.name} shared")
        number = 0
        while not over.wait(chance.uniform(0.5, 1.5) * self.pace_s):
            number += 1
            name = f"{chance.randrange(_SHARED_NAMES)}.txt"
            content = f"{self.site.name} wrote {name} for the {number}th time\n".encode() * chance.randrange(1, 30)
            with self.site.gate.step():
                self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        folder = self.site.mount.path / SHARED
        try:
            folder.mkdir(exist_ok=True)
            # As a person does: the conflict copies that they saw go once they have written what they made of them.
            seen = list(_conflict_copies(folder, name))
            began = time.monotonic()
            # As a program saves that does not let go of the old file before it has the new one.
            new = folder / f"{name}.{self.site.name}.tmp"
            new.write_bytes(content)
            new.rename(folder / name)
            for path in seen:
                path.unlink(missing_ok=True)
        except OSError as error:
            self.journal.find(f"{self.site.name}: writing {SHARED}/{name}: {error}")
            return
        self.written[name] = (began, time.monotonic(), content)
        self.journal.count("shared")


def _conflict_copies(folder: Path, name: str) -> Iterator[Path]:
    """Yield the conflict copies of a name that have been there for a while."""
    stem = name.removesuffix(".txt")
    for path in folder.glob(f"{stem} [[]*"):
        with suppress(FileNotFoundError):  # the other mount was faster
            if time.time() - path.stat().st_mtime > _SEEN_S:
                yield path


@dataclass
class Giver:
    """Writes files of which others remove some at the service: each is then in the trash of this machine (S2)."""

    site: Site
    journal: Journal
    seed: int
    given: dict[str, bytes] = field(default_factory=dict)
    # What others removed.
    removed: dict[str, bytes] = field(default_factory=dict)

    def run(self, over: threading.Event) -> None:
        number = 0
        while not over.wait(_GIVEN_EVERY_S):
            number += 1
            name = f"{self.site.name}-{number:05}.txt"
            content = f"given by {name} of {self.seed}\n".encode() * (number % 50 + 1)
            with self.site.gate.step():
                self._give(name, content)

    def _give(self, name: str, content: bytes) -> None:
        folder = self.site.mount.path / GIVEN
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
        self.given[name] = content
        self.journal.count("given")
        while len(self.given) > _GIVEN_FILES:
            oldest = next(iter(self.given))
            content = self.given.pop(oldest)
            try:
                (folder / oldest).unlink()
            except FileNotFoundError:
                self.removed[oldest] = content


@dataclass
class Commands:
    """Gives the commands that a person gives now and then."""

    site: Site
    journal: Journal
    seed: int
    pace_s: float

    def run(self, over: threading.Event) -> None:
        chance = random.Random(f"{self.seed} {self.site.name} commands")
        path = self.site.mount.path
        acts: list[Callable[[], None]] = [
            lambda: self._give({0}, "status", "--json", path),
            lambda: self._give({0}, "status", path),
            lambda: self._give({0, 3}, "flush", "--timeout", "20s", path),
            lambda: self._give({0}, "retry", path),
            lambda: self._give({0}, "cache", "info", "--mount", path),
            lambda: self._give({0}, "check", path),
            lambda: self._give({0}, "trash", "list", "--mount", path),
            lambda: self._give({0, 1}, "dedupe", "--dry-run", path),
        ]
        while not over.wait(chance.uniform(0.5, 1.5) * 10 * self.pace_s):
            with self.site.gate.step():
                chance.choice(acts)()

    def _give(self, good: set[int], *arguments: object) -> None:
        name = f"remotefs {arguments[0]}"
        try:
            done = remotefs(*arguments, env=self.site.mount.env, timeout=300)
        except subprocess.TimeoutExpired:
            self.journal.find(f"{self.site.name}: {name} still runs after 300 s")
            return
        self.journal.count(name)
        if done.returncode not in good or "Traceback" in done.stderr:
            self.journal.find(
                f"{self.site.name}: {name} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )
