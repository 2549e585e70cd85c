from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.desktop.browsers import BROWSERS, Browser
from tests.desktop.display import Display, desktop
from tests.faults import KEY, FaultyServer, Request, faulty_server
from tests.mount.support import Mounted, eventually, ids, mounted, ops, remote, stored

_TOOLS = Path(__file__).parents[2] / "scripts" / "desktop-tools.sh"
# As people have them, where it decides what is uploaded and what is not.
_SETTINGS = {
    "REMOTEFS_WRITEBACK_TEMPORARY_GRACE_S": "30",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "5",
    "REMOTEFS_WRITEBACK_REUPLOAD_WAIT_S": "30",
    "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "2",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)
            item.add_marker(pytest.mark.desktop)


@dataclass
class Desk:
    """A desktop whose home has a mount of a service in it, and a folder on the disk."""

    display: Display
    server: FaultyServer
    mount: Mounted
    since: int = 0

    @property
    def disk(self) -> Path:
        """A folder of the home that is no mount."""
        path = self.display.home / "disk"
        path.mkdir(exist_ok=True)
        return path

    def begin(self) -> None:
        """Count requests from here on."""
        self.mount.flush()
        self.since = self.server.script.count()

    def requests(self, op: str) -> list[Request]:
        """The requests of one operation since `begin`."""
        return [request for request in self.server.script.requests()[self.since :] if request.op == op]

    def ops(self) -> list[str]:
        """What the service was asked for since `begin`, once nothing is pending; listings left out."""
        self.mount.flush()
        return ops(self.server, self.since)

    def stored(self) -> dict[str, bytes]:
        """What the service has: content by path."""
        self.mount.flush()
        return stored(self.server)

    def ids(self) -> dict[str, str]:
        """The id of each file at the service by its path."""
        return {name.replace("\uff0f", "/"): file_id for name, file_id in ids(self.server).items()}

    def write(self, name: str, content: bytes = b"first\n") -> str:
        """A file of ours, here and at the service; its id."""
        path = self.mount.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.mount.flush()
        return self.mount.xattr(name, "id")

    def arrives(self, files: dict[str, bytes]) -> None:
        """Wait until the mount has these files with these contents, as a file browser writes them."""
        eventually(lambda: all(_content(self.mount.path / name) == content for name, content in files.items()))

    def foreign(self, name: str, content: bytes = b"theirs\n", mime_type: str | None = None) -> str:
        """A file that others made, whose bytes are not here; its id."""
        record = self.server.store.add_generated(remote(name), content, mime_type=mime_type)
        eventually((self.mount.path / name).exists)
        return record.id


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Fail, and say what to install, where a program is missing."""
    done = subprocess.run([_TOOLS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def settings() -> dict[str, str]:
    """Of the mount; modules may have others."""
    return _SETTINGS


@pytest.fixture
def desk(tmp_path_factory: pytest.TempPathFactory, server: FaultyServer, settings: dict[str, str]) -> Iterator[Desk]:
    # Its name is short: it is typed often.
    home = tmp_path_factory.mktemp("home")
    with mounted(home, server.url, KEY, settings=settings) as mount, desktop(home) as display:
        yield Desk(display, server, mount)
        server.script.clear()


@pytest.fixture(params=[*BROWSERS])
def browser(desk: Desk, request: pytest.FixtureRequest) -> Browser:
    """Each file browser, with its window on the mount."""
    return BROWSERS[request.param].at(desk.display, desk.mount.path)
