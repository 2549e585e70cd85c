"""A mount with the settings that people have, and the check that ends each test: the service has the tree, no junk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from remotefs import names
from tests.apps.support import POLICY, assert_service_has, flush
from tests.faults import KEY, EditJson, FaultyServer, faulty_server
from tests.mount.support import Mounted, mounted, ops, shell

# The defaults: what is of temporary shape, renamed or empty waits longer than any of these tests takes to be done
# with it, so that whatever of that goes up was sent without need. `remotefs flush` waits for none of it.
PATIENT = {
    "REMOTEFS_WRITEBACK_TEMPORARY_GRACE_S": "30",
    "REMOTEFS_WRITEBACK_REUPLOAD_WAIT_S": "30",
    "REMOTEFS_WRITEBACK_EMPTY_GRACE_S": "5",
    "REMOTEFS_WRITEBACK_UPLOAD_DELAY_S": "2",
    "REMOTEFS_REFRESH_POLL_IN_USE_S": "6",
    "REMOTEFS_REFRESH_POLL_IDLE_S": "300",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.mount)


@dataclass
class Desk:
    """The folder of a test on the mount, a home on the disk, and what went up since the test began."""

    server: FaultyServer
    mount: Mounted
    folder: Path
    home: Path
    uploaded: list[str]
    _since: int = field(default=0)

    @property
    def env(self) -> dict[str, str]:
        """What a program is started with: nothing of the machine's own settings."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}

    def shell(self, script: str, env: Mapping[str, str] | None = None) -> str:
        """Run a script of bash in the folder; its output."""
        return shell(script, self.folder, env={**self.env, **(env or {})})

    def names(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}

    def start_counting(self) -> None:
        """Everything so far is with the service, and counts no more."""
        flush(self.mount)
        self.uploaded.clear()
        self._since = self.server.script.count()

    def requests(self) -> list[str]:
        """The requests since `start_counting`, listings left out, once everything is with the service."""
        flush(self.mount)
        return ops(self.server, self._since)


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FaultyServer, Mounted, list[str]]]:
    folder = tmp_path_factory.mktemp("office")
    uploaded: list[str] = []

    def note(reply: dict[str, Any]) -> dict[str, Any]:
        uploaded.append(names.decode(reply["filename"]) or json.dumps(reply))
        return reply

    with faulty_server(folder / "server") as server:
        server.script.add(EditJson(note), op="upload", times=None)
        with mounted(folder, server.url, KEY, settings=PATIENT) as mount:
            yield server, mount, uploaded


@pytest.fixture
def desk(
    office: tuple[FaultyServer, Mounted, list[str]], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Desk]:
    server, mount, uploaded = office
    folder = mount.path / request.node.name.removeprefix("test_")[:60].replace("/", "-")
    folder.mkdir()
    (tmp_path / "home").mkdir()
    desk = Desk(server, mount, folder, tmp_path / "home", uploaded)
    desk.start_counting()
    yield desk
    assert_service_has(server, mount, folder.name)
    went_up = {path.removeprefix(f"{folder.name}/") for path in uploaded if POLICY.temporary(path.rpartition("/")[2])}
    # A file of temporary shape is uploaded only if it stays.
    assert went_up <= desk.names(), f"uploaded without need: {went_up - desk.names()}"
