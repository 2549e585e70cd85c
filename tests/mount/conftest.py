from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, eventually, mounted, ops, stored

MakeMount = Callable[..., Mounted]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def make_mount(tmp_path: Path, server: FaultyServer) -> Iterator[MakeMount]:
    """Mounts of `server`, or of another, each with a state folder of its own."""
    with ExitStack() as mounts:
        count = 0

        def make(*arguments: object, of: FaultyServer = server, settings: dict[str, str] | None = None) -> Mounted:
            nonlocal count
            count += 1
            return mounts.enter_context(mounted(tmp_path / f"m{count}", of.url, KEY, *arguments, settings=settings))

        yield make
        # What a test held back does not hold up the unmount.
        server.script.clear()


@pytest.fixture
def mount(make_mount: MakeMount) -> Mounted:
    return make_mount()


@dataclass
class Scene:
    """A mount that a module's tests share, and a folder of one test's own in it."""

    server: FaultyServer
    mount: Mounted
    folder: Path
    since: int

    def ops(self) -> list[str]:
        """What the service was asked for since the test began, listings left out."""
        return ops(self.server, self.since)

    def stored(self) -> dict[str, bytes]:
        """What the service has of the folder once it has everything: content by name."""
        self.mount.flush()
        return stored(self.server, self.folder.name)

    def path(self, name: str) -> str:
        """The path of a file of the folder within the mount."""
        return f"{self.folder.name}/{name}"

    def state(self, name: str) -> str:
        """What the mount says of the file."""
        return self.mount.xattr(self.path(name), "state")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyServer, Mounted]]:
    folder = tmp_path_factory.mktemp("shared")
    with faulty_server(folder / "server") as server, mounted(folder, server.url, KEY) as mount:
        yield server, mount
        server.script.clear()


@pytest.fixture
def scene(shared: tuple[FaultyServer, Mounted], request: pytest.FixtureRequest) -> Iterator[Scene]:
    server, mount = shared
    folder = mount.path / request.node.name.removeprefix("test_")[:60].replace("/", "-")
    folder.mkdir()
    yield Scene(server, mount, folder, server.script.count())
    server.script.clear()
    # A refusal of the account, or no answer, keeps the mount from sending for a while: not from the next test's.
    eventually(lambda: mount.status().online)
