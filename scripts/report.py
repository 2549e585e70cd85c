"""What a benchmark says: Markdown on the screen as it comes, and in a file if one is wanted."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

Row = Sequence[str]


@dataclass(frozen=True)
class Report:
    """Paragraphs, headings and tables, written to the file line by line: what was measured survives a failure."""

    file: TextIO | None = None

    def say(self, text: str) -> None:
        """A paragraph."""
        self._line("")
        self._line(text)

    def table(self, head: Row, rows: Sequence[Row]) -> None:
        self._line("")
        for cells in (head, ["---"] * len(head), *rows):
            self._line(f"| {' | '.join(cells)} |")

    def _line(self, text: str) -> None:
        print(text, flush=True)
        if self.file is not None:
            print(text, file=self.file, flush=True)


@contextmanager
def reporting(path: Path | None, title: str, how: str) -> Iterator[Report]:
    """A report that begins with the machine and ends with its load; `how`: what was run."""
    with ExitStack() as ends:
        file = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = ends.enter_context(path.open("w", encoding="utf-8"))
            print(f"# {title}", file=file, flush=True)
        report = Report(file)
        report.say(f"Written by {how}.")
        report.table(("machine", ""), [*machine().items(), ("load at the start", load())])
        yield report
        report.say(f"Load at the end: {load()}.")


def machine() -> dict[str, str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
    }


def load() -> str:
    return " ".join(f"{value:.2f}" for value in os.getloadavg())
