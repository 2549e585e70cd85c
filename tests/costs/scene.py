"""Where an action is tried: a mount of a real server, and what the server's own log says that the action cost."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.mount.support import Mounted, eventually, mounted, remote, run, shell
from tests.server_process import ServerProcess, running_server

# What the product ships with, but for polls, of which none comes while something is counted, and for the pace.
SETTINGS = {
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "3600",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "3600",
    "REMOTEFS_WRITEBACK_REUPLOAD_WAIT_S": "30",
    "REMOTEFS_WRITEBACK_TEMPORARY_GRACE_S": "30",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "5",
    "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "2",
    # A close on a busy test machine waits for its upload however long that takes.
    "REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "60",
}
OTHERS = "others"
COLD_BYTES = 3_000_000
_MARKER = "file_marker"


class Cost(NamedTuple):
    """Requests by kind; what is neither an upload, a download nor a delete is `other`."""

    uploads: int = 0
    downloads: int = 0
    deletes: int = 0
    other: int = 0


_KINDS = {"upload": "uploads", "content": "downloads", "delete": "deletes"}


@dataclass
class Scene:
    """A folder of one action's own in a mount that all share."""

    server: ServerProcess
    mount: Mounted
    folder: Path
    foreign: Iterator[str]

    def sh(self, script: str) -> str:
        """Run a bash script in the folder; its output."""
        return shell(script, self.folder)

    def tool(self, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a tool in the folder."""
        return run(*arguments, cwd=self.folder, **options)

    def write(self, *names: str, content: str = "first") -> None:
        """Files of ours, there and at the service."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: self._write(self.folder / name, f"{content} of {name}\n"), names))

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def twenty(self, folder: str = "tree") -> None:
        """Twenty files of ours in a folder with another in it."""
        self.write(*(f"{folder}/{'deep/' if n % 4 == 0 else ''}{n}.txt" for n in range(20)))

    def other(self) -> Path:
        """A file that somebody else uploaded; another one each time."""
        return self.mount.path / OTHERS / next(self.foreign)

    def promote_to_content(self) -> None:
        """Wait until nothing is pending."""
        self.mount.flush()

    def cost_of(self, steps: Iterator[None]) -> Cost:
        """What comes after the `yield` of an action cost, all that it leads to later included."""
        next(steps)
        self.promote_to_content()
        before = len(self._requests())
        for _ in steps:
            raise AssertionError("an action yields once")
        self.promote_to_content()
        return cost(self._requests()[before:])

    def _requests(self) -> list[dict[str, object]]:
        """What the server has answered. Its log is complete up to the request that we make here."""
        seen = _markers(self.server)
        httpx.get(f"{self.server.url}/v1/files/{_MARKER}", headers=self.server.headers)
        eventually(lambda: _markers(self.server) > seen)
        return [request for request in self.server.requests() if not _is_marker(request)]


def cost(requests: list[dict[str, object]]) -> Cost:
    """Requests by kind."""
    return Cost(**Counter(_KINDS.get(str(request["op"]), "other") for request in requests))


def _is_marker(request: dict[str, object]) -> bool:
    return str(request["path"]).endswith(_MARKER)


def _markers(server: ServerProcess) -> int:
    return sum(map(_is_marker, server.requests()))


@contextmanager
def workshop(root: Path) -> Iterator[Callable[[str], Scene]]:
    """A server with files of others and a mount of it; makes scenes by name."""
    others = [f"{n:02}.bin" for n in range(14)]
    with running_server(root / "server", "--log-requests") as server:
        for name in others:
            _upload(server, remote(f"{OTHERS}/{name}"), bytes(COLD_BYTES))
        with mounted(root, server.url, server.key, settings=SETTINGS) as mount:
            foreign = iter(others)

            def scene(name: str) -> Scene:
                folder = mount.path / name
                folder.mkdir()
                return Scene(server, mount, folder, foreign)

            yield scene


def _upload(server: ServerProcess, name: str, content: bytes) -> None:
    part = {"file": (name, content, "application/octet-stream")}
    httpx.post(f"{server.url}/v1/files", files=part, headers=server.headers).raise_for_status()
