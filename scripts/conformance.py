"""Drive the suites of strict file systems where they lie beside: `python scripts/conformance.py --xfstests DIR …`.

xfstests (https://github.com/kdave/xfstests, with its fsx) and pjdfstest (https://github.com/pjd/pjdfstest) are fetched
and built beside; their folders come by option or by the variables XFSTESTS and PJDFSTEST. Each file system gets two
fresh devices on servers of its own. What each suite says goes into FILE.json, beside what other runs said, and as a
table into FILE.md, between the marks that it has for that. The exit status is 1 when remotefs fails a test that FILE.md
does not name.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.devices import REMOTEFS, devices, installed
from scripts.report import Report, machine
from scripts.suites import RUNS, VARIABLES, XFSTESTS, SuiteMissing, Suites, checked_places

BEGIN, END = "<!-- written by scripts/conformance.py -->", "<!-- end -->"
Results = dict[str, dict[str, Any]]


def main() -> int:
    # Ended from outside it unmounts and stops its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = arguments()
    suites = Suites(given.xfstests, given.pjdfstest, tuple(given.tests.split()))
    names, places = given.only.split(","), given.on.split(",")
    try:
        checked_places(suites, names)
        for place in places:
            for name in names:
                measure(name, place, suites, given)
    except SuiteMissing as missing:
        print(f"conformance: {missing}", file=sys.stderr)
        return 2
    return told_unnamed(given.to) if given.to else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, variable in VARIABLES.items():
        place = os.environ.get(variable)
        parser.add_argument(
            f"--{name}", type=Path, default=Path(place) if place else None, help=f"its folder; default: ${variable}"
        )
    parser.add_argument("--only", default=",".join(RUNS), help="some of: %(default)s")
    parser.add_argument("--on", default=",".join(installed()), help="some of: %(default)s")
    parser.add_argument("--tests", default="-g generic/quick", help="for xfstests' check; default: %(default)s")
    parser.add_argument("--durability", default="remote", help="of remotefs; default: %(default)s")
    parser.add_argument("--root", type=Path, default=None, help="a folder on the disk for devices and logs; they stay")
    parser.add_argument("--to", type=Path, default=None, help="the document to write to, FILE.md")
    return parser.parse_args()


def measure(name: str, place: str, suites: Suites, given: argparse.Namespace) -> None:
    """Run one suite on one file system, print what it says, and keep it."""
    root = given.root.resolve() if given.root else Path(tempfile.gettempdir())
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-{place.lower()}-", dir=root))
    # Other users pass through it to the mounts.
    folder.chmod(0o755)
    print(f"{name} on {place}, logs in {folder}", flush=True)
    with devices(place, folder, given.durability) as made:
        verdict = RUNS[name](suites, made, folder)
    row = asdict(verdict) | {"date": f"{datetime.now(UTC):%Y-%m-%d}", "kernel": machine()["kernel"]}
    title = f"{name} {_selection(suites.wanted)}" if name == XFSTESTS else name
    results = {f"{title} on {place}": {"suite": title, "on": place, **row}}
    if given.to is not None:
        file = given.to.with_suffix(".json")
        kept: Results = json.loads(file.read_text()) if file.exists() else {}
        results = kept | results
        file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        write(given.to, results)
    else:
        tables(results)


def _selection(wanted: Sequence[str]) -> str:
    """The group of xfstests that was asked for, in a word."""
    return wanted[1] if wanted[:1] == ("-g",) and len(wanted) == 2 else "(a selection)"


def write(document: Path, results: Results) -> None:
    """Put the tables between the marks of the document."""
    head, _, rest = document.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not rest:
        raise SuiteMissing(f"{document} has no line {BEGIN}")
    document.write_text(f"{head}{BEGIN}\n{tables(results)}\n{END}{tail}")


def tables(results: Results) -> str:
    text = io.StringIO()
    report = Report(text)
    head = ("suite", "file system", "run", "pass", "fail", "not run", "minutes", "date", "kernel")
    report.table(head, [_row(result) for result in results.values()])
    return text.getvalue()


def _row(result: Mapping[str, Any]) -> tuple[str, ...]:
    not_run = sum(result["not_run"].values())
    counts = (result["run"], result["passed"], result["run"] - result["passed"], not_run)
    minutes = f"{result['seconds'] / 60:.0f}"
    when = (minutes, result["date"], result["kernel"])
    return (result["suite"], result["on"], *(f"{count:,}" for count in counts), *when)


def told_unnamed(document: Path) -> int:
    """Print what remotefs fails and the document does not name; the exit status."""
    results: Results = json.loads(document.with_suffix(".json").read_text())
    unnamed = unnamed_failures(document.read_text(), results)
    for name, said in unnamed.items():
        print(f"conformance: {document} does not name {name}: {said}", file=sys.stderr)
    return 1 if unnamed else 0


def unnamed_failures(text: str, results: Results) -> dict[str, str]:
    """The failures of remotefs that a document does not name, and what each said."""
    ours = [result["failed"] for result in results.values() if result["on"] == REMOTEFS]
    return {name: said for failed in ours for name, said in failed.items() if f"`{name}`" not in text}


if __name__ == "__main__":
    sys.exit(main())
