from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from remotefs.objects.store import ObjectStore
from tests.objects.servers import BUCKET, WRITER, Key, Rclone, SeaweedFS, Server, environment, running


@dataclass
class Place:
    """A place for a store that nothing has used yet."""

    kind: str
    url: str
    server: Server | None = None

    def open(self) -> ObjectStore:
        """A store there, as another machine would open it."""
        return ObjectStore.open(self.url)


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with running(SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))) as server:
        yield server


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    with running(Rclone(tmp_path_factory.mktemp("rclone"))) as server:
        yield server


@pytest.fixture
def sign_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server, Key], None]:
    """Set the variables of a server and one of its keys."""

    def sign(server: Server, key: Key = WRITER) -> None:
        for name, value in environment(server.port, key).items():
            monkeypatch.setenv(name, value)

    return sign


@pytest.fixture(params=["folder", *(pytest.param(name, marks=pytest.mark.store) for name in ("seaweedfs", "rclone"))])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sign_in: Callable[[Server], None]
) -> Place:
    """A new place of each kind; `@beside("rclone", why)` names a server that does not do what the test asks for."""
    for mark in request.node.iter_markers("beside"):
        if mark.args[0] == request.param:
            pytest.skip(f"{request.param}: {mark.args[1]}")
    if request.param == "folder":
        return Place("folder", f"file://{tmp_path_factory.mktemp('store')}")
    server = request.getfixturevalue(request.param)
    sign_in(server)
    return Place(request.param, f"s3://{BUCKET}/{uuid.uuid4().hex}/b", server)


@pytest.fixture
def store(place: Place) -> ObjectStore:
    """A store in a new place."""
    return place.open()
