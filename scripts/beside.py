"""How long others wait beside one large piece of work (H8): a look-up and a warm read of 4 KiB, again and again."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from scripts.gauges import mount_of, seed
from scripts.report import Report
from tests.mount.support import Mounted, eventually, is_mounted, remotefs
from tests.server_process import running_server

Row = tuple[str, ...]
# The mount is there at once, and what is written waits until somebody wants it sent.
_SETTINGS = {"REMOTEFS_REFRESH_FIRST_LISTING_WAIT_S": "0.1", "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "3600"}


class Counts(Protocol):
    """How much is measured."""

    @property
    def listed(self) -> int:
        """Files of the listing."""
        ...

    @property
    def renamed(self) -> int:
        """Files of the folder that is renamed."""
        ...

    @property
    def pending(self) -> int:
        """Changes that wait for the service."""
        ...


@dataclass
class Waits:
    """What others waited, in seconds, each time."""

    lookups: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)

    def cells(self) -> Row:
        return tuple(cell for waits in (self.lookups, self.reads) for cell in _cells(waits))


def _cells(waits: list[float]) -> Row:
    if not waits:
        return ("", "")
    ordered = sorted(waits)
    return tuple(f"{1000 * ordered[int(len(ordered) * part)]:.1f} ms" for part in (0.99, 1 - 1e-9))


@contextmanager
def watched(mount: Path) -> Iterator[Waits]:
    """Look names up and read a file of `calm` while the block lasts, one after the other, 200 times a second."""
    waits, over = Waits(), threading.Event()

    def look() -> None:
        number = 0
        while not over.wait(0.005):
            number += 1
            # A name that nobody asked for: the kernel has no answer to it.
            waits.lookups.append(_took(lambda number=number: (mount / f"calm/{number}").exists()))
            # The open is answered by the mount, whatever pages the kernel has.
            waits.reads.append(_took((mount / "calm/file").read_bytes))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield waits
    finally:
        over.set()
        thread.join()


def _took(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def beside(folder: Path, counts: Counts, report: Report) -> None:
    """The longest waits beside each piece of work."""
    report.say("## Beside a large piece of work")
    with running_server(folder / "server") as server:
        seed(server.root, [f"many／file-{number:06}" for number in range(counts.listed)])
        mount = mount_of(folder, server, durability="local", **_SETTINGS)
        mount.started()
        try:
            rows = list(_rows(mount, counts))
        finally:
            if is_mounted(mount.path):
                mount.end()
    header = ("beside", "took", "a look-up, 99 %", "longest", "a read of 4 KiB, 99 %", "longest")
    report.table(header, rows)


def _rows(mount: Mounted, counts: Counts) -> Iterator[Row]:
    (mount.path / "calm").mkdir()
    (mount.path / "calm/file").write_bytes(bytes(4096))
    yield _row(mount, f"the service's listing of {counts.listed:,} files", lambda: _until_listed(mount, counts.listed))
    _flush(mount)
    yield _row(mount, "nothing", lambda: time.sleep(5))
    yield _row(mount, f"`ls -f` of {counts.listed:,} files", lambda: _run("ls", "-f", mount.path / "many"))
    yield _row(mount, f"the rename of a folder of {counts.listed:,} files", lambda: _rename(mount, "many", "renamed"))
    _make(mount.path / "ours", counts.renamed)
    _flush(mount)
    yield _row(mount, f"the rename of {counts.renamed:,} files of ours", lambda: _rename(mount, "ours", "theirs"))
    yield _row(mount, f"writing {counts.pending:,} files", lambda: _make(mount.path / "pending", counts.pending))
    yield _row(mount, f"{counts.pending:,} pending changes", lambda: time.sleep(10))
    yield _row(mount, f"the drain of {counts.pending:,} changes", lambda: _flush(mount))
    yield _row(mount, f"`rm -r` of {counts.pending:,} files", lambda: _run("rm", "-r", mount.path / "pending"))


def _row(mount: Mounted, words: str, work: Callable[[], object]) -> Row:
    with watched(mount.path) as waits:
        took = _took(work)
    return (words, f"{took:.1f} s", *waits.cells())


def _until_listed(mount: Mounted, files: int) -> None:
    eventually(lambda: mount.status().files >= files, timeout=300)


def _rename(mount: Mounted, old: str, new: str) -> None:
    (mount.path / old).rename(mount.path / new)
    eventually(lambda: not mount.status().renamed, timeout=300)


def _flush(mount: Mounted) -> None:
    done = remotefs("flush", mount.path, "--timeout", 3600, env=mount.env, timeout=3700)
    assert done.returncode == 0, done.stderr


def _make(folder: Path, files: int) -> None:
    # A process of its own: this one watches.
    script = 'mkdir -p "$1"; i=0; while [ $i -lt $2 ]; do echo $i > "$1/$i"; i=$((i+1)); done'
    _run("sh", "-c", script, "sh", folder, files)


def _run(*command: object) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
