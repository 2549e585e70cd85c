"""Two places for each test: a mount, and a folder on a local disk, which proves the test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.apps.support import assert_service_has
from tests.faults import KEY, FaultyServer, faulty_server
from tests.mount.support import Mounted, mounted, run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)


# Only root may open a mount to other users as the machine is, and to devices and set-uid programs.
FOR_ALL = ("-o", "allow_other,dev,suid") if os.geteuid() == 0 else ()


@dataclass
class Service:
    """A mount and its server. Run as root, all users may enter it."""

    server: FaultyServer
    mount: Mounted


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with (
        faulty_server(folder / "server") as server,
        mounted(folder, server.url, KEY, *FOR_ALL) as mount,
    ):
        mount.path.chmod(0o755)
        yield Service(server, mount)
        # Whatever the calls did to the tree, the service has every file of it and no other.
        assert_service_has(server, mount)


@pytest.fixture(scope="package", params=["mount", "disk"])
def volume(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests run: on the mount, and on a disk of this machine."""
    if request.param == "mount":
        path: Path = request.getfixturevalue("service").mount.path
        return path
    return tmp_path_factory.mktemp("disk")


@pytest.fixture
def place(volume: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the test's own that everybody may write to; the test runs in it."""
    yield from _place(volume, request, monkeypatch)


@pytest.fixture
def mount_place(service: Service, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same on the mount alone, for what only it promises."""
    yield from _place(service.mount.path, request, monkeypatch)


def _place(volume: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = volume / request.node.name.removeprefix("test_")[:80].replace("/", "-")
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.chdir(folder)
    mask = os.umask(0o022)
    yield folder
    os.umask(mask)
    if os.geteuid() != 0:
        # Who may not do everything opens again what the test closed.
        run("chmod", "-R", "u+rwX", folder, check=False)
    monkeypatch.chdir("/")
