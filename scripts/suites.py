"""Conformance suites of others, each driven where it lies, and what it says of a file system.

xfstests and pjdfstest are built beside; nothing of them is kept here. Each run gives a Verdict.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from scripts.devices import MOUNT_HELPER, Devices

XFSTESTS, PJDFSTEST, FSX = "xfstests", "pjdfstest", "fsx"
# Where each suite lies: the option of that name, or this variable.
VARIABLES = {XFSTESTS: "XFSTESTS", PJDFSTEST: "PJDFSTEST"}
_PEOPLE = ("fsgqa", "fsgqa2", "123456-fsgqa")
_FSX_OPERATIONS = 20_000
# Buffered and mapped; without mappings; direct, in whole sectors.
_FSX_WAYS: dict[str, tuple[str, ...]] = {
    "buffered and mapped": (),
    "without mappings": ("-R", "-W"),
    "direct": ("-Z", "-R", "-W", "-r", "4096", "-w", "4096", "-t", "4096"),
}


class SuiteMissing(Exception):
    """Something that a suite needs is not here; the text says what, and how to get it."""


@dataclass(frozen=True)
class Verdict:
    """How many tests ran and passed. `failed`: what each failed one said; `not_run`: how many for each reason."""

    run: int
    passed: int
    failed: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Suites:
    """Where the suites lie, and which tests of xfstests are wanted, in the words of its `check`."""

    xfstests: Path | None
    pjdfstest: Path | None
    wanted: tuple[str, ...]


def checked_places(suites: Suites, names: Sequence[str]) -> None:
    """Raise SuiteMissing when one of the named suites cannot be run here."""
    if os.geteuid() != 0:
        raise SuiteMissing("the suites make device nodes and act as other users: run them as root")
    if not MOUNT_HELPER.exists():
        raise SuiteMissing(f"{MOUNT_HELPER} is missing: install fuse3")
    if XFSTESTS in names or FSX in names:
        _built(suites.xfstests, XFSTESTS, "ltp/fsx", "github.com/kdave/xfstests")
    if PJDFSTEST in names:
        _built(suites.pjdfstest, PJDFSTEST, "pjdfstest", "github.com/pjd/pjdfstest")
    if XFSTESTS in names:
        _check_people()


def _built(place: Path | None, name: str, product: str, source: str) -> None:
    how = f"fetch {source}, build it, and give its folder by --{name} or {VARIABLES[name]}"
    if place is None:
        raise SuiteMissing(f"nobody said where {name} lies: {how}")
    if not (place / product).exists():
        raise SuiteMissing(f"{place / product} is missing: {how}")


def _check_people() -> None:
    known = {person.pw_name for person in pwd.getpwall()}
    if missing := [name for name in _PEOPLE if name not in known]:
        raise SuiteMissing(f"xfstests acts as users that this machine lacks: {', '.join(missing)} (useradd -m)")


# -- xfstests


def run_xfstests(suites: Suites, devices: Devices, folder: Path) -> Verdict:
    assert suites.xfstests is not None
    config = folder / "local.config"
    # xfstests wants its devices to be of type `fuse`, and df(1) says `fuse.remotefs`.
    df = folder / "df"
    df.write_text("#!/bin/sh\ndf -T -P \"$@\" | sed -E 's/ fuse\\.[^ ]+ / fuse /'\n")
    df.chmod(0o755)
    config.write_text(_configuration(devices, df))
    results = folder / "results"
    env = os.environ | {"HOST_OPTIONS": str(config), "RESULT_BASE": str(results)}
    command = ["./check", "-R", "xunit", *suites.wanted]
    with (folder / "check.log").open("w") as log:
        subprocess.run(command, cwd=suites.xfstests, env=env, stdout=log, stderr=subprocess.STDOUT, check=False)
    report = results / "result.xml"
    if not report.exists():
        said = (folder / "check.log").read_text(errors="replace")
        raise SuiteMissing(f"xfstests ended without a report; {folder / 'check.log'} ends with:\n{said[-2000:]}")
    return read_xunit(report.read_text(errors="replace"))


def _configuration(devices: Devices, df: Path) -> str:
    options = f"-o{devices.options}"
    settings = {
        "TEST_DEV": devices.test.name,
        "TEST_DIR": devices.test.folder,
        "SCRATCH_DEV": devices.scratch.name,
        "SCRATCH_MNT": devices.scratch.folder,
        "FSTYP": "fuse",
        "FUSE_SUBTYP": f".{devices.program}",
        "MOUNT_OPTIONS": options,
        "TEST_FS_MOUNT_OPTS": options,
        "DF_PROG": df,
    }
    return "".join(f'export {name}="{value}"\n' for name, value in settings.items())


def read_xunit(text: str) -> Verdict:
    """The verdict in a report of xfstests."""
    root = ET.fromstring(text)
    failed: dict[str, str] = {}
    not_run: Counter[str] = Counter()
    cases = list(root.iter("testcase"))
    for case in cases:
        if (skipped := case.find("skipped")) is not None:
            not_run[skipped.get("message", "")] += 1
        elif (failure := case.find("failure")) is not None:
            failed[case.get("name", "")] = failure.get("message", "")
    run = len(cases) - sum(not_run.values())
    seconds = sum(float(case.get("time", "0")) for case in cases)
    return Verdict(run, run - len(failed), failed, dict(not_run.most_common()), seconds)


# -- pjdfstest


def run_pjdfstest(suites: Suites, devices: Devices, folder: Path) -> Verdict:
    assert suites.pjdfstest is not None
    began = time.monotonic()
    with devices.mounted() as mount:
        place = mount / "pjdfstest"
        place.mkdir(mode=0o755)
        done = subprocess.run(
            ["prove", "-r", suites.pjdfstest / "tests"], cwd=place, capture_output=True, text=True, check=False
        )
    (folder / "prove.log").write_text(done.stdout + done.stderr)
    return read_prove(done.stdout, suites.pjdfstest / "tests", time.monotonic() - began)


def read_prove(text: str, tests: Path, seconds: float) -> Verdict:
    """The verdict in what prove(1) said; a file of tests is named by its place below `tests`."""
    total = re.search(r"^Files=\d+, Tests=(\d+)", text, re.MULTILINE)
    if total is None:
        raise SuiteMissing(f"prove ended without a summary:\n{text[-2000:]}")
    failed = {
        str(Path(path).relative_to(tests)): int(count)
        for path, count in re.findall(r"^(\S+)\s+\(Wstat: .*? Tests: \d+ Failed: (\d+)\)", text, re.MULTILINE)
        if int(count)
    }
    run = int(total.group(1))
    said = {path: f"{count} of its tests" for path, count in failed.items()}
    return Verdict(run, run - sum(failed.values()), said, {}, seconds)


# -- fsx


def run_fsx(suites: Suites, devices: Devices, folder: Path) -> Verdict:
    assert suites.xfstests is not None
    began = time.monotonic()
    failed: dict[str, str] = {}
    with devices.mounted() as mount, (folder / "fsx.log").open("w") as log:
        for seed, (way, options) in enumerate(_FSX_WAYS.items(), start=1):
            file = mount / f"fsx-{seed}"
            numbers = ["-N", str(_FSX_OPERATIONS), "-S", str(seed), "-P", str(folder)]
            command = [suites.xfstests / "ltp/fsx", "-q", *numbers, *options, file]
            done = subprocess.run(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                failed[way] = f"exit status {done.returncode}"
    run = len(_FSX_WAYS)
    return Verdict(run, run - len(failed), failed, {}, time.monotonic() - began)


Run = Callable[[Suites, Devices, Path], Verdict]
RUNS: dict[str, Run] = {XFSTESTS: run_xfstests, PJDFSTEST: run_pjdfstest, FSX: run_fsx}
