"""The real `remotefs serve` as a process of its own, on a real socket."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_READY_S = 30
_END_S = 40


@dataclass
class ServerProcess:
    """A running server. `key` is the one it made."""

    url: str
    key: str
    root: Path
    process: subprocess.Popen[str]
    # What was read of the access log so far, and up to which byte.
    _requests: list[dict[str, object]] = field(default_factory=list)
    _read_to: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.key}

    def requests(self) -> list[dict[str, object]]:
        """The access log; needs `--log-requests`."""
        with (self.root / "requests.jsonl").open("rb") as log:
            log.seek(self._read_to)
            lines = [line for line in log if line.endswith(b"\n")]
        self._requests += map(json.loads, lines)
        self._read_to += sum(map(len, lines))
        return [*self._requests]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(_END_S)


def seed_rows(root: Path, count: int, *, created_us: int | None = None) -> None:
    """Rows without bytes, as fast as SQL can: file number n is `file_seed<n>`, the last one the newest.

    With `created_us` all have that time, so that only the id tells them apart.
    """
    with closing(sqlite3.connect(root / "files.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO files (id, created_us, filename, mime_type, size_bytes, downloadable)"
            " VALUES (?, ?, ?, 'text/plain', 1, 1)",
            (
                (f"file_seed{number:07}", created_us or 1_700_000_000_000_000 + number, f"seed-{number}.txt")
                for number in range(count)
            ),
        )


def with_settings(root: Path, **settings: object) -> list[str]:
    """The command line of a server with Settings that `remotefs serve` has no options for."""
    program = (
        "import sys, json, pathlib; from remotefs.server.run import Address, Settings, serve;"
        "serve(pathlib.Path(sys.argv[1]), Settings(**json.loads(sys.argv[2])), Address(), key=None)"
    )
    return [sys.executable, "-c", program, str(root), json.dumps(settings)]


def resident_peak_kib(server: ServerProcess) -> int:
    """The most memory that the server's process had so far."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def cli(*arguments: str) -> list[str]:
    """The command line of `remotefs <arguments>`."""
    return [sys.executable, "-m", "remotefs", *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment without the service's own settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("ANTHROPIC_", "REMOTEFS_"))} | dict(extra or {})


def start(
    root: Path,
    *flags: str,
    stdin: int = subprocess.DEVNULL,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
    command: Sequence[str] | None = None,
) -> ServerProcess:
    """Start a server and wait until it answers. Whoever calls this stops it.

    `command` runs it in place of `remotefs serve`.
    """
    process = subprocess.Popen(
        command or cli("serve", "--root", str(root), *flags),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=environment(env),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise AssertionError(f"the server ended with {process.wait(_READY_S)} before it was ready")
    ready = json.loads(line)
    key_file = ready["key_file"]
    key = Path(key_file).read_text().strip() if key_file else (env or {})["ANTHROPIC_API_KEY"]
    return ServerProcess(ready["url"], key, root, process)


@contextmanager
def running_server(root: Path, *flags: str, **options: object) -> Iterator[ServerProcess]:
    """A server for the length of a block; ended by SIGTERM, and killed if that does not help."""
    server = start(root, *flags, **options)  # type: ignore[arg-type]  # passed on as they are
    try:
        yield server
    finally:
        try:
            server.stop()
        finally:
            server.process.kill()
            server.process.wait()
            assert server.process.stdout is not None
            server.process.stdout.close()
