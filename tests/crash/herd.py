"""The judge's side of the victims: starting them, one at a time, against a service that outlives them."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tests.crash.judge import Stored, stored
from tests.crash.report import Report
from tests.crash.victim import End, Job
from tests.faults import KEY, Action, Call, FaultyServer, faulty_server

_PATIENCE_S = 20.0


class Herd:
    """The process that forks the victims."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.victim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def run(self, job: Job) -> End:
        """Let one process live and end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=End)

    def close(self) -> None:
        """End it; no victim runs any more."""
        self._process.communicate()


@dataclass
class _Watch(Action):
    """Counts what the service is at work on."""

    running: int = 0

    async def __call__(self, call: Call) -> None:
        self.running += 1
        try:
            await call.carry_out()
        finally:
            self.running -= 1


@dataclass
class Place:
    """A state folder, the service that goes with it, and the processes that use them one after the other."""

    folder: Path
    server: FaultyServer
    herd: Herd
    watch: _Watch = field(default_factory=_Watch)

    def run(self, **job: object) -> End:
        """A process, and the service done with what it got from it."""
        end = self.herd.run(msgspec.convert({"folder": str(self.folder), "url": self.server.url} | job, Job))
        self._await_service()
        return end

    def survivor(self, state: str = "state") -> Report:
        """What the next mount makes of it."""
        (self.folder / "report").unlink(missing_ok=True)
        end = self.run(state=state)
        assert end.was_fine, f"the mount after the crash ended with {end.status}:\n{self.log()}"
        return self.report()

    def report(self) -> Report:
        """The last that was written."""
        return msgspec.json.decode((self.folder / "report").read_bytes(), type=Report)

    def stored(self) -> Stored:
        """What the service has."""
        return stored(self.server, self.folder / "server")

    def acks(self) -> tuple[int, int]:
        """How many operations of a scenario were begun, and how many done."""
        page = (self.folder / "acks").read_bytes() if (self.folder / "acks").exists() else b""
        return page.count(b"b"), page.count(b"d")

    def log(self) -> str:
        """What the processes have said."""
        return (self.folder / "log").read_text()[-6000:]

    def _await_service(self) -> None:
        """The dead may have left requests in the sockets; the service has read them before this one, and carries on."""
        request = urllib.request.Request(f"{self.server.url}/v1/files?limit=1", headers={"x-api-key": KEY})
        urllib.request.urlopen(request).close()
        end = time.monotonic() + _PATIENCE_S
        while self.watch.running:
            assert time.monotonic() < end, "the service is still at work"
            time.sleep(0.001)


@contextmanager
def place(folder: Path, herd: Herd, generated: dict[str, bytes] | None = None) -> Iterator[Place]:
    """A new one; `generated` are files that the service gives back."""
    folder.mkdir()
    with faulty_server(folder / "server", uploads_downloadable=False) as server:
        for name, data in (generated or {}).items():
            server.store.add_generated(name, data)
        made = Place(folder, server, herd)
        server.script.add(made.watch, times=None)
        yield made
