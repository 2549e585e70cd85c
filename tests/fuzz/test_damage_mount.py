"""Files of the state folder of a real mount are damaged after a kill: it starts, or says what to do, and that helps."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remotefs.server.queries import ListQuery
from tests.faults import KEY, FaultyServer, Reply, faulty_server
from tests.fuzz.calls_user import content
from tests.mount.support import Mounted, mounted, remotefs

pytestmark = pytest.mark.mount

SENT = {f"sent{number}": content(3000 + number, number) for number in range(4)}
_ALL = ListQuery(limit=1000)
PENDING = {f"d/pending{number}": content(5000 + number, 10 + number) for number in range(4)}
Damage = Callable[[Path], str | None]


def _turn(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset % len(data)] ^= 0x10
    path.write_bytes(data)


def a_bit_of_the_log(state: Path) -> None:
    _turn(state / "state.db-wal", -30_000)


def a_bit_of_the_database(state: Path) -> None:
    _take_log_in(state)
    _turn(state / "state.db", 5_000)


def a_page_of_the_database(state: Path) -> None:
    _take_log_in(state)
    with (state / "state.db").open("r+b") as file:
        file.seek(8 * 1024)
        file.write(bytes(1024))


def no_database(state: Path) -> None:
    for file in state.glob("state.db*"):
        file.unlink()


def no_sums(state: Path) -> None:
    for file in state.glob("content/*/*.pinned"):
        file.unlink()


def a_bit_of_content(state: Path) -> str:
    """The name of the file whose bytes are damaged."""
    file = min(state.glob("content/*/*[!d]"))
    name = next(name for name, data in SENT.items() if data == file.read_bytes())
    _turn(file, 100)
    return name


def no_labels(state: Path) -> None:
    no_database(state)
    for file in state.glob("staging/*"):
        os.removexattr(file, "user.remotefs.label")


def no_content(state: Path) -> str:
    """All that was sent, which the service does not give back."""
    shutil.rmtree(state / "content")
    return "sent"


def _take_log_in(state: Path) -> None:
    sqlite3.connect(state / "state.db").execute("PRAGMA wal_checkpoint(TRUNCATE)").connection.close()


DAMAGES: list[Damage] = [
    a_bit_of_the_log, a_bit_of_the_database, a_page_of_the_database, no_database, no_sums, a_bit_of_content, no_labels,
    no_content,
]  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FaultyServer]:
    """As the service: what was uploaded cannot be read back."""
    with faulty_server(tmp_path / "server", uploads_downloadable=False) as running:
        yield running


@pytest.fixture
def killed(tmp_path: Path, server: FaultyServer) -> Iterator[Mounted]:
    """Files that were sent and files that were not, and then a kill."""
    with mounted(tmp_path / "m", server.url, KEY, "--durability", "local") as mount:
        for name, data in SENT.items():
            (mount.path / name).write_bytes(data)
        mount.flush()
        server.script.add(Reply(503), op="upload", times=None)
        (mount.path / "d").mkdir()
        for name, data in PENDING.items():
            (mount.path / name).write_bytes(data)
        mount.kill()
        server.script.clear()
        yield mount
        server.script.clear()


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_real_mount_finds_again_what_is_whole(
    tmp_path: Path, killed: Mounted, server: FaultyServer, damage: Damage
) -> None:
    before = {record.id for record in server.store.list(_ALL).records}
    lost = damage(killed.state)
    # A read of damaged bytes is logged with its place.
    killed.may_log_tracebacks = True
    begun = killed.start()
    if begun.returncode:
        assert "check --repair" in begun.stderr, begun.stderr
        assert remotefs("check", "--repair", "--state-dir", killed.state).returncode == 0
        killed.started()
    if damage in {no_sums, no_labels}:
        # Nothing says whose these bytes are: a repair puts them where a person finds them.
        remotefs("check", "--repair", killed.path)
    killed.flush()
    shown = {path: _read(path) for path in killed.path.rglob("*") if path.is_file()}
    trash = {path.read_bytes() for path in killed.state.glob("trash/*") if path.name.isdigit()}
    found = {data for data in shown.values() if data is not None} | trash
    whole = {data for name, data in (SENT | PENDING).items() if lost is None or not name.startswith(lost)}
    assert whole - found == set()
    assert found - {*SENT.values(), *PENDING.values(), b""} == set(), "damaged bytes are shown"
    stored = {
        record.id: (tmp_path / "server" / "files" / record.id).read_bytes()
        for record in server.store.list(_ALL).records
    }
    assert before <= stored.keys(), "nobody gave these up"
    assert {*stored.values()} <= {*SENT.values(), *PENDING.values()}
    if lost is not None:
        assert remotefs("check", killed.path).returncode == 1


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
