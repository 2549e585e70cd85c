"""The same random steps on a real mount beside a folder of the kernel's own file system."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from remotefs import names
from tests.faults import KEY, FaultyServer, Reply, faulty_server
from tests.model.folder import Folder
from tests.model.machine import MountMachine, run
from tests.model.model import Model
from tests.model.served import assert_served, served
from tests.mount.support import Mounted, eventually, mounted
from tests.sampling import sample

# The model refuses nobody anything.
pytestmark = [pytest.mark.mount, pytest.mark.root("random steps that need every right")]


class MountFolder(Folder):
    """A folder of a mount, where others' files come by the server."""

    def __init__(self, root: Path, mount: Mounted, server: FaultyServer) -> None:
        super().__init__(root)
        self._mount = mount
        self._server = server
        self._ids: dict[str, str] = {}

    def foreign(self, path: str, data: bytes, downloadable: bool, label: str) -> None:
        remote = names.remote_name(f"{self.root.name}/{path}")
        self._ids[label] = self._server.store.add(remote, data, downloadable=downloadable).id
        eventually(lambda: os.path.lexists(self.root / path))

    def vanish(self, label: str, gone: list[str]) -> None:
        self._server.store.delete(self._ids[label])
        eventually(lambda: not any(os.path.lexists(self.root / path) for path in gone))

    def drain(self) -> None:
        self._mount.flush()

    def assert_served(self, model: Model) -> None:
        prefix = f"{self.root.name}/"
        assert_served(served(self._server, prefix), model, self._ids, prefix)

    def remount(self) -> None:
        self.close_all()
        self._mount.remount()

    def crash(self) -> None:
        """Killed with all that is not at the service yet, but not in the middle of an upload: W6 has its own tests."""
        refusing = self._server.script.add(Reply(529), op="upload", times=None)
        eventually(lambda: not self._is_uploading())
        self._mount.kill()
        self._server.script.remove(refusing)
        for fd in self._slots.values():
            with suppress(OSError):  # its mount is gone
                os.close(fd)
        self._slots.clear()
        self._mount.started()

    def _is_uploading(self) -> bool:
        with closing(sqlite3.connect(self._mount.state / "state.db")) as database:
            return bool(database.execute("SELECT 1 FROM intent WHERE attempt_name IS NOT NULL").fetchall())


class SideBySide(MountMachine):
    """A mount and the kernel's own."""

    more = ("drain",)

    def teardown(self) -> None:
        for subject in self.subjects:
            subject.close_all()
        self.model.slots.clear()
        if self.agreed:
            self._do("drain")
            self.compare()
        for subject in self.subjects:
            shutil.rmtree(subject.root)


@pytest.fixture(scope="module")
def shared(scratch: Path) -> Iterator[tuple[Mounted, FaultyServer]]:
    # An edit of somebody else's generated file would show both (W8).
    settings = {"REMOTEFS_WRITEBACK_REPLACE_DOWNLOADABLE": "true", "REMOTEFS_REFRESH_REMOVAL_MIN_AGE_S": "0"}
    with (
        faulty_server(scratch / "server", uploads_downloadable=False) as server,
        mounted(scratch, server.url, KEY, settings=settings) as mount,
    ):
        # A listing without any file would not be believed (S1).
        server.store.add("always there", b"1", downloadable=True)
        yield mount, server


@pytest.fixture
def machine(tmp_path: Path, shared: tuple[Mounted, FaultyServer]) -> type[SideBySide]:
    mount, server = shared
    numbers = itertools.count()

    class Pair(SideBySide):
        def make_subjects(self) -> list[Any]:
            name = f"{os.getpid()}-{next(numbers)}"
            roots = (tmp_path / name, mount.path / name)
            for root in roots:
                root.mkdir(mode=0o755)
            return [Folder(roots[0]), MountFolder(roots[1], mount, server)]

    return Pair


@pytest.mark.parametrize("examples", sample(3, 8))
def test_a_mount_is_the_model(machine: type[SideBySide], examples: int) -> None:
    run(machine, examples=examples, steps=50)


@pytest.mark.parametrize("end", [pytest.param("remount", marks=pytest.mark.long), "crash"])
def test_however_it_ends_it_is_the_same_afterwards(machine: type[SideBySide], end: str) -> None:
    class Ended(machine):  # type: ignore[misc,valid-type]  # the fixture gives a class
        def teardown(self) -> None:
            if self.agreed:
                self._do(end)
                self.compare()
            super().teardown()

    run(Ended, examples=2, steps=50)


@pytest.mark.long
def test_a_mount_is_the_model_for_long(machine: type[SideBySide]) -> None:
    class Ending(machine):  # type: ignore[misc,valid-type]  # the fixture gives a class
        more = ("remount", "crash", "drain")

    run(Ending, examples=300, steps=100, derandomize=False)
