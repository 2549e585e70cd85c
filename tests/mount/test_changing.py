"""Files that programs change more often than a slow line takes to upload them (W4)."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults import Call, FaultyServer, Throttle
from tests.mount.conftest import MakeMount
from tests.mount.support import eventually, stored

MIB = 1 << 20
# More than any socket buffer takes, and so slow that a write comes before it is all sent.
SIZE = 12 * MIB
SETTINGS = {
    "REMOTEFS_WRITEBACK_CLOSE_WAIT_S": "0.2",
    "REMOTEFS_WRITEBACK_CHANGING_PAUSE_S": "0.3",
}


@dataclass
class Keeping(Throttle):
    """Take uploads slowly, and keep what each of them that was whole brought."""

    server: FaultyServer
    folder: Path
    kept: list[Path] = field(default_factory=list)

    async def __call__(self, call: Call) -> None:
        body = b""
        send = call.send

        async def listen(message: Any) -> None:
            nonlocal body
            body += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._keep(json.loads(body))
            await send(message)

        call.send = listen
        await super().__call__(call)

    def _keep(self, reply: dict[str, Any]) -> None:
        if "size_bytes" in reply:
            path = self.folder / f"{len(self.kept)}-{reply['filename']}"
            with open(self.server.store._blobs.open(reply["id"]), "rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
            self.kept.append(path)


@contextmanager
def again_and_again(act: Callable[[], None], every_s: float) -> Iterator[None]:
    """Do it in a thread, until the block is left; what it raised is raised here."""
    over = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not over.is_set():
                act()
                over.wait(every_s)
        except BaseException as error:  # noqa: BLE001 - it is told in the other thread
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert failed == []


@pytest.fixture
def slow(server: FaultyServer, tmp_path: Path) -> Keeping:
    folder = tmp_path / "kept"
    folder.mkdir()
    action = Keeping(10.0 * MIB, server, folder)
    server.script.add(action, op="upload", times=None)
    return action


@pytest.mark.long
def test_a_log_gets_there_while_it_grows(server: FaultyServer, make_mount: MakeMount, slow: Keeping) -> None:
    mount = make_mount(settings=SETTINGS)
    log = mount.path / "app.log"
    content = random.Random(1).randbytes(SIZE)
    sizes, closes = set(), []
    log.write_bytes(content)

    def append() -> None:
        nonlocal content
        with log.open("ab") as file:
            file.write(b"%010d\n" % len(sizes))
        content += b"%010d\n" % len(sizes)
        sizes.add(len(content))

    def timed() -> None:
        began = time.monotonic()
        append()
        closes.append(time.monotonic() - began)

    with again_and_again(timed, 0.1):
        eventually(lambda: len(slow.kept) >= 2)
        grown = len(sizes)
        eventually(lambda: len(sizes) > grown)
    for path in slow.kept:
        version = path.read_bytes()
        assert len(version) in sizes
        assert content.startswith(version)
    # Uploads take a second and more: no close waited for one.
    assert sorted(closes)[len(closes) // 2] < 0.5
    mount.flush()
    assert stored(server) == {"app.log": content}
    assert not [name for name in os.listdir(mount.state / "staging") if "frozen" in name]


def _make_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE sample (number INTEGER PRIMARY KEY, version INTEGER, data BLOB)")
        noise = random.Random(2)
        rows = ((number, 0, noise.randbytes(3000)) for number in range(SIZE // 3000))
        database.executemany("INSERT INTO sample VALUES (?, ?, ?)", rows)


def _transact(path: Path, version: int) -> None:
    """Change rows all over the file, and all of them by the same number."""
    with closing(sqlite3.connect(path, timeout=30)) as database, database:
        database.execute("UPDATE sample SET version = ? WHERE number % 50 = 0", (version,))


def _faults(path: Path) -> list[str]:
    """What is wrong with a copy of the database: it is torn, or holds half of a transaction."""
    with closing(sqlite3.connect(path)) as database:
        found = [row[0] for row in database.execute("PRAGMA integrity_check") if row[0] != "ok"]
        versions = database.execute("SELECT DISTINCT version FROM sample WHERE number % 50 = 0").fetchall()
    return found if len(versions) == 1 else [*found, f"versions {versions}"]


def _check_versions(server: FaultyServer, make_mount: MakeMount, slow: Keeping, count: int, patience_s: float) -> None:
    mount = make_mount(settings=SETTINGS)
    path = mount.path / "app.db"
    _make_database(path)
    version = 0

    def write() -> None:
        nonlocal version
        version += 1
        _transact(path, version)

    with again_and_again(write, 0.05):
        eventually(lambda: len(slow.kept) >= count, timeout=patience_s)
    mount.flush()
    assert {copy.name: _faults(copy) for copy in slow.kept} == {copy.name: [] for copy in slow.kept}
    last = mount.state / "last.db"
    last.write_bytes(stored(server)["app.db"])
    with closing(sqlite3.connect(last)) as database:
        assert database.execute("SELECT max(version) FROM sample").fetchone() == (version,)


@pytest.mark.long
def test_each_version_of_a_database_is_whole(server: FaultyServer, make_mount: MakeMount, slow: Keeping) -> None:
    _check_versions(server, make_mount, slow, 2, 30.0)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_versions_of_a_database_are_whole(server: FaultyServer, make_mount: MakeMount, slow: Keeping) -> None:
    _check_versions(server, make_mount, slow, 100, 1500.0)
